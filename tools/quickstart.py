"""The main job on an embedded default: render the sample world, pretrain PQCL on it, show what was learned."""
from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmdssl.checkpoint import load_backbone
from mmdssl.datasets import LabelledFolder, ViewsPreprocessor
from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.evaluation.records import read_records
from mmdssl.visualization import draw_attention

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/pretrain/quickstart.py'
HERE = Path('work_dirs/quickstart')
PICTURES = 6


def main() -> None:
    start = time.monotonic()
    make_sample_world(HERE / 'world')
    run = HERE / 'run'
    shutil.rmtree(run, ignore_errors=True)
    training = subprocess.run([sys.executable, ROOT / 'tools/train.py', CONFIG, '--work-dir', run])
    if training.returncode:
        sys.exit(training.returncode)

    records = read_records(run / 'results.jsonl')
    picture = HERE / 'attention.png'
    draw(run / 'backbone.safetensors', picture)
    console = Console()
    console.print(result_table(records[0], records[-1]))
    console.print(f'Attention of the pretrained network: {picture}')
    console.print(f'Backbone: {run / "backbone.safetensors"}')
    console.print(f'This took {time.monotonic() - start:.0f} s.')


def result_table(random: dict, pretrained: dict) -> Table:
    table = Table('k-NN accuracy on the sample world, %', 'random weights', 'pretrained with PQCL', 'gain')
    for name, before in random['metrics'].items():
        after = pretrained['metrics'][name]
        table.add_row(name, f'{before:.1f}', f'{after:.1f}', f'{after - before:+.1f}')
    return table


def draw(backbone_file: Path, picture: Path) -> None:
    """Attention maps of some validation images, of different classes."""
    backbone = load_backbone(backbone_file)
    size = backbone.frame[0] * backbone.patch_size
    images = LabelledFolder(str(HERE / 'world/imagenet/val'), resize=2 * size, size=2 * size)
    chosen = range(0, len(images), max(1, len(images) // PICTURES))
    pixels = torch.stack([images[i]['image'] for i in chosen][:PICTURES])
    draw_attention(backbone, pixels, ViewsPreprocessor().normalise(pixels), picture)


if __name__ == '__main__':
    main()
