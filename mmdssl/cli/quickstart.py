"""Render the sample world, pretrain PQCL on it, show what was learned: in minutes, without data of one's own."""
from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mmdssl.cli.guard import guarded
from mmdssl.home import find_config, find_tool

if TYPE_CHECKING:
    from rich.table import Table

PICTURES = 6
MEANING = """knn20_top1 is the share of validation images to which their 20 nearest training images, by the network's features, give the
right one of {classes} classes, and top5 the share where it is among the first five. Training saw no class. Random weights find
more than chance because colours and textures alone tell something."""


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: that of the training, where it fails; else see :func:`mmdssl.cli.guard.guarded`."""
    parser = argparse.ArgumentParser(description=__doc__, epilog='Other arguments go to the training.')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/quickstart'),
                        help='folder for everything; work_dirs/quickstart by default')
    parser.add_argument('--train', type=int, default=2000, help='training images to render; 2000 by default')
    parser.add_argument('--val', type=int, default=400, help='validation images to render; 400 by default')
    args, rest = parser.parse_known_args(argv)
    codes: list[int] = []
    return guarded(lambda: codes.append(run(args, rest))) or codes[0]


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Returns the exit code of the training."""
    from rich.console import Console

    from mmdssl.datasets.sample_world import make_sample_world
    from mmdssl.engine.run_lock import hold
    from mmdssl.results.records import read_records
    start = time.monotonic()
    world, folder = args.out / 'world', args.out / 'run'
    args.out.mkdir(parents=True, exist_ok=True)
    hold(args.out)
    make_sample_world(world, train=args.train, val=args.val)
    shutil.rmtree(folder, ignore_errors=True)
    images = world / 'imagenet'
    training = subprocess.run([sys.executable, find_tool('train.py'), find_config('mmdssl::pretrain/quickstart.py'), '--work-dir', folder,
                               '--data', images / 'train', '--knn', images, *rest])
    if training.returncode:
        return training.returncode

    records = read_records(folder / 'results.jsonl')
    draw(folder / 'backbone.safetensors', images / 'val', args.out / 'attention.png')
    Console().print(result_table(records[0], records[-1]))
    print(MEANING.format(classes=len(list((images / 'val').iterdir()))))
    print(f'Attention of the pretrained network: {args.out / "attention.png"}')
    print(f'Curves, results and pictures on one page, to open in a browser: {folder / "report.html"}')
    print(f'This took {time.monotonic() - start:.0f} s.')
    return 0


def result_table(random: dict, pretrained: dict) -> Table:
    from rich.table import Table

    from mmdssl.results.tables import improvement, number
    table = Table('k-NN on the sample world, %', 'random weights', 'pretrained with PQCL', 'gain')
    for name, before in random['metrics'].items():
        after = pretrained['metrics'][name]
        table.add_row(name, number(name, before), number(name, after), improvement(name, before, after))
    return table


def draw(backbone_file: Path, folder: Path, picture: Path) -> None:
    """Attention maps of some validation images, of different classes."""
    import torch

    from mmdssl.checkpoint import load_backbone
    from mmdssl.cli.scene import random_twin
    from mmdssl.datasets import LabelledFolder, ViewsPreprocessor
    from mmdssl.visualization import draw_attention
    backbone = load_backbone(backbone_file)
    size = backbone.frame[0] * backbone.patch_size
    images = LabelledFolder(str(folder), resize=2 * size, size=2 * size)
    chosen = range(0, len(images), max(1, len(images) // PICTURES))
    pixels = torch.stack([images[i]['image'] for i in chosen][:PICTURES])
    normal = ViewsPreprocessor().normalise(pixels)
    draw_attention(pixels, backbone.attention_maps(normal), random_twin(str(backbone_file)).attention_maps(normal)).save(picture)
