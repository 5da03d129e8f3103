from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdssl.registry import DATASETS, MODELS

CONFIGS = Path(__file__).parents[2] / 'configs/video'


def test_defaults_are_those_of_dinos_evaluation(davis_root):
    cfg = Config.fromfile(CONFIGS / 'davis2017.py')
    model = MODELS.build(cfg.model)
    assert (model.context_frames, model.options) == (7, dict(radius=12, top_k=5, temperature=0.1))
    assert model.backbone.embed_dim == 384 and model.backbone.out_norm and model.backbone.out_indices == [11]
    assert pytest.approx(model.data_preprocessor.std.flatten().tolist()) == (255 * 0.228, 255 * 0.224, 255 * 0.225)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(davis_root)))
    assert (dataset.short_side, dataset.long_side_step) == (480, 64)


def test_sweep_differs_in_context_frames_only():
    one, several = (Config.fromfile(CONFIGS / f'{name}.py') for name in ('davis2017', 'davis2017_context'))
    assert len(several.model.pop('context_frames')) == 4 and one.model.pop('context_frames') == 7
    assert one.to_dict() == several.to_dict()
