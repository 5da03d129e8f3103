from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.datasets.transfer import TRANSFER_SETS
from mmdssl.registry import METRICS

CONFIGS = Path(__file__).parents[2] / 'configs/classification'


@pytest.mark.parametrize('name', TRANSFER_SETS)
def test_each_data_set_is_trained_and_measured_as_the_table_says(name):
    cfg, known = Config.fromfile(CONFIGS / f'logistic_{name}.py'), TRANSFER_SETS[name]
    bank, queries = cfg.test_cfg.bank.dataset, cfg.test_dataloader.dataset
    assert (bank.name, queries.name, cfg.default_hooks.record.dataset) == (name, name, name)
    assert queries.split == 'test' and bank.split == (['train', 'val'] if 'val' in known.splits else 'train')
    assert {*([bank.split] if isinstance(bank.split, str) else bank.split), 'test'} == set(known.splits)  # nothing is left out
    metric = METRICS.build(cfg.test_evaluator)
    assert metric.measure == known.measure and metric.val == ('val/' if 'val' in known.splits else 0.2)
    assert (bank.resize, bank.size, queries.resize, queries.size) == (224, 224, 224, 224) and len(metric.penalties) == 45


def test_few_labels_change_the_bank_alone():
    for kind in ('logistic', 'knn'):
        whole = Config.fromfile(CONFIGS / f'{kind}.py')
        for share, name in ((0.01, '1percent'), (0.1, '10percent')):
            few = Config.fromfile(CONFIGS / f'{kind}_{name}.py')
            assert few.test_cfg.bank.dataset.pop('fraction') == share
            assert few.test_cfg == whole.test_cfg and few.test_dataloader == whole.test_dataloader
            assert few.test_evaluator == whole.test_evaluator
