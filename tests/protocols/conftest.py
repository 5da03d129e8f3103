"""Makes ``video_run`` importable, also for processes that tests start; evaluations of a tiny checkpoint from the command line."""
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import run_tool
from torch import nn

from mmdssl.checkpoint import save_backbone
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tiny_weights(tiny_backbone, tmp_path) -> Path:
    """A checkpoint of the tiny backbone whose blocks do something."""
    backbone = MODELS.build(tiny_backbone)
    for parameter in backbone.blocks.parameters():
        nn.init.normal_(parameter, std=0.3)
    save_backbone(backbone, tmp_path / 'tiny.safetensors', tiny_backbone)
    return tmp_path / 'tiny.safetensors'


@pytest.fixture
def evaluated(tiny_weights, tmp_path) -> Callable[..., dict[str, float]]:
    """Function that runs ``tools/test.py`` with a config on a data root, and returns the metrics of its record."""

    def evaluate(config: str, root: Path, *options: str, processes: int = 1) -> dict[str, float]:
        work_dir = tmp_path / f'work{processes}'
        run_tool('test', config, tiny_weights, '--data', root, '--work-dir', work_dir, '--cfg-options', 'test_dataloader.num_workers=0',
                 *options, processes=processes)
        record, = read_records(work_dir / 'results.jsonl')
        return record['metrics']
    return evaluate
