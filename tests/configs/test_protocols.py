"""Configs of protocols on frozen features."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.protocols.features import Extractor
from mmdssl.registry import METRICS

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = {path.stem: cfg for path in sorted((ROOT / 'classification').glob('*.py'))
           if (cfg := Config.fromfile(path)).get('test_cfg', {}).get('type') == 'ProtocolLoop'}


def test_knn_is_that_of_dinos_evaluation():
    cfg = CONFIGS['knn']
    protocol = METRICS.build(cfg.test_evaluator)
    assert (protocol.k, protocol.temperature, protocol.extractor) == ((10, 20, 100, 200), 0.07, Extractor())
    queries, bank = cfg.test_dataloader.dataset, cfg.test_cfg.bank.dataset
    assert (queries.data_root, bank.data_root) == ('data/imagenet/val', 'data/imagenet/train')
    for part in (queries, bank):
        assert (part.resize, part.size, part.get('fraction')) == (256, 224, None)


@pytest.mark.parametrize('name', CONFIGS)
def test_all_share_a_cache_and_record_what_they_measure(name):
    cfg = CONFIGS[name]
    METRICS.build(cfg.test_evaluator)
    assert cfg.test_cfg.cache == 'work_dirs/features'
    assert cfg.default_hooks.record.task and cfg.default_hooks.record.dataset


def test_their_results_are_told_apart_in_tables():
    labels = [(record.task, record.dataset, record.get('framework')) for record in (cfg.default_hooks.record for cfg in CONFIGS.values())]
    assert len(set(labels)) == len(labels)
