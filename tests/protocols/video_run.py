"""Evaluations of configs/video with a tiny backbone."""
from __future__ import annotations

import gc
import json
from itertools import count
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank

from mmdssl.registry import RUNNERS

CONFIGS = Path(__file__).parents[2] / 'configs/video'
RUNS = count()


def video_config(data_root: Path, work_dir: Path, name: str = 'davis2017', **changes) -> Config:
    """A config for sequences of 192 x 112 px; ``changes`` are merged in, keys with dots reach inside."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'video{next(RUNS)}'  # MMEngine shares logs between runs of the same name
    cfg.log_level = 'ERROR'
    cfg.visualizer = None
    cfg.model.backbone.arch = dict(embed_dim=24, depth=2, num_heads=2)
    cfg.merge_from_dict({'test_dataloader.dataset.data_root': str(data_root), 'test_dataloader.dataset.short_side': 112,
                         'test_dataloader.num_workers': 0, **changes})
    return cfg


def evaluate(cfg: Config) -> dict[str, float]:
    return RUNNERS.build(cfg).test()


def evaluate_as_rank(data_root: Path, folder: Path, changes: dict) -> None:
    """One of several processes that evaluate together; each leaves its metrics in ``folder/metrics.rank``."""
    metrics = evaluate(video_config(data_root, folder / 'work', launcher='pytorch', **changes))
    Path(folder, f'metrics.{get_rank()}').write_text(json.dumps(metrics))
    gc.collect()
    torch.distributed.destroy_process_group()
