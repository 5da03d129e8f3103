"""Algorithms that name the dict of their network as they like."""
from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors import safe_open
from torch import nn
from toy import ToyAlgorithm, ToyBackbone, colour_folders, knn_config

from mmdssl.engine.backbone import backbone_of, config_of
from mmdssl.errors import InputError
from mmdssl.models.backbones import VisionTransformer
from mmdssl.registry import MODELS

HOOKS = [dict(type='AlgorithmHook'), dict(type='ExportBackboneHook'), dict(type='RecordHook')]


@MODELS.register_module()
class ToyEncoder(ToyBackbone):

    def __init__(self, width: int = 8):
        super().__init__(nn.Linear(8, width), nn.GELU(), nn.Dropout(0.5), nn.Linear(width, 4))


@MODELS.register_module()
class EncoderAlgorithm(ToyAlgorithm):

    def __init__(self, encoder: dict, predictor: dict | None = None):
        super().__init__()
        self.student = MODELS.build(encoder)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.predictor = predictor and MODELS.build(predictor).requires_grad_(False)


@MODELS.register_module()
class SparseAlgorithm(ToyAlgorithm):
    """Of weights that no safetensors file can hold."""

    def __init__(self):
        super().__init__()
        self.teacher.register_buffer('table', torch.eye(3).to_sparse())


@MODELS.register_module()
class MapsAlgorithm(ToyAlgorithm):
    """Of a backbone that gives no feature vectors."""

    @property
    def backbone(self):
        return nn.Sequential(*self.teacher)


def exported(folder) -> dict | None:
    with safe_open(folder / 'backbone.safetensors', 'pt') as file:
        return json.loads(file.metadata()['config'])


def record(folder) -> dict:
    return json.loads((folder / 'results.jsonl').read_text().splitlines()[-1])


@pytest.mark.parametrize('model', [
    dict(type='EncoderAlgorithm', encoder=dict(type='ToyEncoder', width=6)),
    dict(type='EncoderAlgorithm', predictor=dict(type='ToyEncoder', width=7), encoder=dict(type='ToyEncoder', width=6)),
    dict(type='EncoderAlgorithm', encoder=dict(type='mmdssl.ToyEncoder', width=6)),
], ids=['alone', 'beside another', 'scope'])
def test_a_network_by_any_name_is_recorded_and_exported(train, tmp_path, model):
    train(model=dict(model, _delete_=True), custom_hooks=HOOKS, **knn_config(colour_folders(tmp_path / 'data')),
          **{'train_cfg.max_epochs': 1})
    assert exported(tmp_path / 'run') == model['encoder']
    assert record(tmp_path / 'run')['backbone'] == 'toyencoder'


def test_a_network_without_config_is_recorded_and_its_weights_exported(train, tmp_path):
    train(custom_hooks=HOOKS, **knn_config(colour_folders(tmp_path / 'data')), **{'train_cfg.max_epochs': 1})
    assert exported(tmp_path / 'run') is None
    assert record(tmp_path / 'run')['backbone'] == 'toybackbone'
    log, = (tmp_path / 'run').glob('*/*.log')
    assert 'backbone.safetensors will hold weights alone' in log.read_text()


@pytest.mark.parametrize('changes, message', [
    (dict(model=dict(_delete_=True, type='SparseAlgorithm')), 'backbone of SparseAlgorithm cannot be exported'),
    (dict(model=dict(_delete_=True, type='MapsAlgorithm')), r'protocols need a backbone with features\(images\)'),
])
def test_what_cannot_be_exported_or_measured_is_refused_before_the_first_step(train, tmp_path, changes, message):
    if 'protocols' in message:
        changes = {**changes, **knn_config(colour_folders(tmp_path / 'data'))}
    with pytest.raises(InputError, match=message):
        train(custom_hooks=HOOKS, **changes)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_the_backbone_of_a_model_inside_another_is_found():
    network = MODELS.build(dict(type='mmdet.ResNet', depth=18))
    detector, wrapper = nn.Module(), nn.Module()
    detector.backbone, wrapper.student = network, detector
    assert backbone_of(detector) is backbone_of(wrapper) is network and backbone_of(nn.Linear(1, 1)).in_features == 1
    backbone = dict(type='mmdet.ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint='gone.pth'))
    other = dict(type='mmdet.ResNet', depth=34)
    assert config_of(network, dict(type='SemiBaseDetector', other=other, detector=dict(backbone=backbone))) == backbone
    assert config_of(network, dict(type='SemiBaseDetector')) is None


def test_looking_for_a_config_draws_no_random_numbers(tiny_backbone):
    network = MODELS.build(tiny_backbone)
    before = torch.get_rng_state()
    model = dict(predictor=dict(tiny_backbone, patch_size=4), encoder=dict(tiny_backbone, type=VisionTransformer))
    assert config_of(network, model)['patch_size'] == 8
    assert config_of(network, model)['type'] == 'mmdssl.models.backbones.vision_transformer.VisionTransformer'
    assert torch.equal(torch.get_rng_state(), before)
