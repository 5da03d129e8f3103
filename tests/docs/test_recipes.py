"""The blocks of docs/recipes.md and README.md build what they say."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.registry import MODELS

ROOT = Path(__file__).parents[2]
DETECTOR, SEGMENTOR, PROJECT, TIMM, TRANSFORMERS, TORCH = range(6)


@pytest.fixture
def block(blocks):
    """Function that gives one of the blocks of Python."""
    return lambda number: blocks('recipes', 'python')[number]


@pytest.fixture
def config(block, tmp_path):
    """Function that gives the config in one of the blocks."""
    def read(number: int) -> Config:
        (tmp_path / 'theirs.py').write_text(block(number))
        return Config.fromfile(tmp_path / 'theirs.py')
    return read


@pytest.fixture(scope='module')
def small(tmp_path_factory) -> Path:
    """A folder with the weights of a ViT-S/16."""
    root = tmp_path_factory.mktemp('recipes')
    config = dict(type='mmdssl.VisionTransformer', arch='small')
    save_backbone(MODELS.build(config), root / 'backbone.safetensors', config)
    return root


@pytest.mark.parametrize('number, scope', [(DETECTOR, 'mmdet'), (SEGMENTOR, 'mmseg')])
def test_models_of_other_projects_build_and_make_a_pyramid(number, scope, config):
    given = config(number).model
    pytest.importorskip(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(given)
    assert type(model.backbone).__module__.startswith('mmdssl') and model.neck.in_channels == [384] * 4
    maps = model.backbone(torch.zeros(1, 3, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [(384, side, side) for side in (16, 8, 4, 2)]
    assert model.backbone.init_cfg['type'] == 'SSLPretrained'


@pytest.mark.parametrize('number, scope', [(DETECTOR, 'mmdet'), (SEGMENTOR, 'mmseg')])
def test_optimizers_of_other_projects_build(number, scope, config, tiny_backbone):
    model = nn.Module()
    model.backbone = MODELS.build(tiny_backbone)
    with DefaultScope.overwrite_default_scope(scope):
        built = build_optim_wrapper(model, config(number).optim_wrapper)
    assert isinstance(built.optimizer, torch.optim.AdamW) and len({group['lr'] for group in built.optimizer.param_groups}) > 1


def test_the_detector_of_the_readme_builds(tmp_path):
    block, = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    (tmp_path / 'theirs.py').write_text(f"_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n{block}")
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(tmp_path / 'theirs.py').model)
    assert model.backbone.init_cfg['checkpoint'].endswith('backbone.safetensors')


def test_a_project_inherits(config):
    cfg = config(PROJECT)
    assert cfg.model.type == 'PQCL' and cfg.train_dataloader.batch_size == 32
    assert (cfg.default_scope, cfg.runner_type) == ('mmdssl', 'Runner')


def test_timm_computes_the_same(block, small, monkeypatch):
    monkeypatch.chdir(small)
    found = {}
    exec(block(TIMM), found)
    images = torch.randn(1, 3, 224, 224)
    expected = load_backbone('backbone.safetensors').eval().features(images)
    torch.testing.assert_close(found['network'].eval()(images), expected, rtol=1e-4, atol=1e-4)


def test_transformers_computes_the_same(block, small, monkeypatch):
    pytest.importorskip('transformers')
    monkeypatch.chdir(small)
    found = {}
    exec(block(TRANSFORMERS), found)
    images = torch.randn(1, 3, 224, 224)
    expected = load_backbone('backbone.safetensors').eval().features(images)
    torch.testing.assert_close(found['network'].eval()(images).last_hidden_state[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_features_in_plain_pytorch(block, small, monkeypatch):
    monkeypatch.chdir(small)
    found = {}
    exec(block(TORCH), found)
    assert found['vectors'].shape == (2, 384) and found['maps'][0].shape == (2, 384, 14, 14)
