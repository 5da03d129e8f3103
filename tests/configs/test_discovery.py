"""Configs of the discovery of objects, of saliency and of the attention Jaccard."""
from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.engine.config_check import check_config
from mmdssl.registry import METRICS, MODELS

ROOT = Path(__file__).parents[2] / 'configs/dense'
METHODS = ('lost', 'tokencut', 'attention')
KINDS = (*METHODS, 'saliency', 'attention-jaccard')
PATHS = [path for kind in KINDS for size in ('', 'small_') for path in sorted(ROOT.glob(f'{size}{kind}[_-]*.py'))]
CONFIGS = {path.stem: Config.fromfile(path) for path in PATHS}


@pytest.mark.parametrize('name', CONFIGS)
def test_nothing_in_it_is_unknown_and_its_record_is_its_own(name, monkeypatch):
    """But for the data, which is not here."""
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    cfg = CONFIGS[name].copy()
    check_config(cfg)
    METRICS.build(cfg.test_evaluator)
    labels = [(other.default_hooks.record.task, other.default_hooks.record.dataset) for other in CONFIGS.values()]
    record = cfg.default_hooks.record
    assert labels.count((record.task, record.dataset)) == 1


def test_every_method_has_every_data_set():
    wanted = {f'{method}_{data}' for method in METHODS for data in ('voc07', 'voc12', 'coco20k')}
    wanted |= {f'small_{method}_{data}' for method in METHODS for data in ('coco', 'world')}
    assert wanted <= set(CONFIGS)


def test_numbers_are_those_of_the_authors():
    lost, cut = (MODELS.build(CONFIGS[f'{name}_voc07'].model) for name in ('lost', 'tokencut'))
    assert lost.num_patches == 100 and cut.graph == dict(threshold=0.2, weight=1e-5)
    for model in (lost, cut):
        assert (model.extractor.facet, model.extractor.blocks, model.extractor.read) == ('key', 1, 'patches')
    coco = CONFIGS['tokencut_coco20k'].test_dataloader.dataset
    assert coco.image_list == 'coco_20k_filenames.txt' and 'max_side' not in coco
    assert METRICS.build(CONFIGS['lost_voc12'].test_evaluator).threshold == 0.5
    assert METRICS.build(CONFIGS['saliency_duts'].test_evaluator).beta_squared == 0.3
