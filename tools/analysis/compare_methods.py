"""Train small networks with many methods on the same images, and make one table of what their features have gained.

    python tools/analysis/compare_methods.py OUT --data FOLDER [--methods dino mae ...] [--seeds 0 1 2] [--held-out]

FOLDER has ``train/<class>/`` and ``val/<class>/``. Each run is one of ``configs/small`` on one thread, with sin-cos positions where the
network has positions, so that the rows of one network start from equally good random features; finished runs are not run again.
``--held-out`` never looks at ``val``: a tenth of the training images takes its place, which is how a recipe is chosen.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from mmengine.config import Config
from rich.console import Console

from mmdssl.results.records import read_records

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('dino', 'ibot', 'selfpatch', 'adclr', 'pqcl', 'pqcl_dino', 'bam', 'mocov3', 'densecl_vit', 'mae', 'maskfeat', 'beit',
           'dino_resnet', 'mocov2', 'densecl', 'simclr', 'byol', 'swav', 'barlowtwins', 'supcon', 'looc', 'looc_plus', 'bam_resnet')
METRIC = 'knn20_top1'
BATCH = 32
HELD_OUT = 10  # each tenth image of a class


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--methods', nargs='+', default=METHODS, metavar='NAME', help='names of configs/small; all of one kind by default')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument('--held-out', action='store_true', help='measure on a tenth of the training images instead of val')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every run')
    parser.add_argument('--label', default='', help='added to the names of the runs, to tell recipes apart')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='runs at a time')
    args = parser.parse_args()
    data = hold_out(args.data, args.out / 'held_out') if args.held_out else args.data.resolve()
    runs = [(method, seed, args.out / 'runs' / f'{method}{args.label}-s{seed}') for seed in args.seeds for method in args.methods]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda run: train(*run, data, args), runs))
    Console(width=200).print(table([folder for *_, folder in runs]), highlight=False, markup=False)
    return 0


def hold_out(data: Path, out: Path) -> Path:
    """A folder of links with the same classes, whose ``val`` is a part of ``data/train``."""
    for folder in sorted((data / 'train').iterdir()):
        for i, file in enumerate(sorted(folder.iterdir())):
            link = out / ('train' if i % HELD_OUT else 'val') / folder.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file.resolve())
    return out.resolve()


def train(method: str, seed: int, folder: Path, data: Path, args: argparse.Namespace) -> None:
    if (folder / 'cost.json').is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = f'{ROOT}/configs/small/{method}.py'
    options = [f'randomness.seed={seed}', f'train_cfg.max_epochs={args.epochs}', f'train_cfg.val_interval={args.epochs}',
               'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0', 'val_cfg.bank.num_workers=0']
    backbone = Config.fromfile(config).model.backbone
    if backbone.get('type', 'VisionTransformer') == 'VisionTransformer' and backbone.get('position') != 'sincos':
        options.append('model.backbone.position=sincos')
    command = [sys.executable, f'{ROOT}/tools/train.py', config, '--data', data / 'train', '--knn', data, '--work-dir', folder, '--resume',
               '--cfg-options', *options, *args.cfg_options]
    with open(folder / 'console.log', 'w') as log:
        process = subprocess.Popen(map(str, command), stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ, OMP_NUM_THREADS='1'))
        _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code:
        print(f'{folder.name} failed, see {folder}/console.log', file=sys.stderr)
        return
    (folder / 'cost.json').write_text(json.dumps(dict(method=method, seed=seed, epochs=args.epochs, memory_MiB=usage.ru_maxrss // 1024,
                                                      cpu_seconds=usage.ru_utime + usage.ru_stime)))


def table(folders: list[Path]) -> str:
    """Markdown; a row per method, in the order of the folders, its seeds together."""
    rows = defaultdict(list)
    for folder in folders:
        if (folder / 'cost.json').is_file():
            rows[re.sub(r'-s\d+$', '', folder.name)].append(folder)
    lines = ['| method | network | images seen | k-NN before | k-NN after | gain | CPU seconds per epoch | peak memory (MiB) |',
             '|---|---|---|---|---|---|---|---|']
    for name, group in rows.items():
        records = [read_records(folder / 'results.jsonl') for folder in group]
        costs = [json.loads((folder / 'cost.json').read_text()) for folder in group]
        before, after = ([run[i]['metrics'][METRIC] for run in records] for i in (0, -1))
        gain = [b - a for a, b in zip(before, after)]
        seen = records[0][-1]['iteration'] * BATCH
        lines.append(f"| {name} | {records[0][0]['backbone']} | {seen:,} | {spread(before)} | {spread(after)} | {spread(gain)} | "
                     f"{mean(cost['cpu_seconds'] / cost['epochs'] for cost in costs):.0f} | {max(cost['memory_MiB'] for cost in costs)} |")
    return '\n'.join(lines)


def spread(values: list[float]) -> str:
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


if __name__ == '__main__':
    sys.exit(main())
