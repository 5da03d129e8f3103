"""Work dirs as runs leave them, made in milliseconds."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CONFIG = """
model = dict(type='{method}', backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2)))
train_dataloader = dict(batch_size=4, dataset=dict(type='ImageFolder', data_root='data/train'))
val_dataloader = dict(dataset=dict(type='LabelledFolder', data_root='data/val'))
train_cfg = dict(type='TrainLoop', max_epochs=3)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr={lr}, weight_decay=0.04))
randomness = dict(seed={seed})
work_dir = '{folder}'
"""
STEPS = range(2, 13, 2)  # of three epochs of four iterations


def make_run(folder: Path, method: str = 'DINO', seed: int = 0, lr: float = 1e-3, steps=STEPS, validation: bool = True) -> Path:
    """A work dir of a finished run with random losses and results, the same for the same arguments."""
    rng = np.random.default_rng([seed, len(method)])
    session(folder, '20260101_000000', 0, rng, steps)
    (folder / f'{method.lower()}.py').write_text(CONFIG.format(method=method, seed=seed, lr=lr, folder=folder))
    if validation:
        records = [record(method=method, epoch=epoch, iteration=4 * epoch, checkpoint=f'{seed}-{epoch}',
                          metrics=dict(knn10_top1=float(rng.uniform(0, 100)), knn20_top1=float(rng.uniform(0, 100)))) for epoch in range(4)]
        (folder / 'results.jsonl').write_text(''.join(json.dumps(each) + '\n' for each in records))
    return folder


def session(folder: Path, time: str, start: int, rng: np.random.Generator, steps) -> None:
    """What one start of a run leaves."""
    log = folder / time / 'vis_data'
    log.mkdir(parents=True)
    lines = [dict(loss=float(rng.uniform(5, 6)), entropy=float(rng.uniform(2, 3)), effective_rank=float(rng.uniform(9, 12)), lr=1e-3 / step,
                  images_per_second=40, epoch=1 + (step - 1) // 4, iter=step, step=step) for step in steps]
    validations = [dict(knn20_top1=10., step=epoch) for epoch in range(4)]
    (log / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in [*lines, *validations]))
    note = dict(command='python tools/train.py configs/small/dino.py --work-dir <it> & more', started='2026-01-01T00:00:00+00:00',
                finished='2026-01-01T00:30:00+00:00', iteration=start, epoch_length=4, images=16, batch_size=4, processes=1, device='CPU')
    (folder / time / 'session.json').write_text(json.dumps(note))


def record(**fields) -> dict:
    return {**dict(time='2026-01-01T00:10:00+00:00', task='knn', backbone='vit-1x16/16', dataset='d1'), **fields}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
