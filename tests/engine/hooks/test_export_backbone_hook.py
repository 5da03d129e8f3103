from __future__ import annotations

import torch
from safetensors import safe_open

from mmdssl.datasets.preprocessor import ViewsPreprocessor
from mmdssl.engine.hooks.export_backbone_hook import _pixels


def test_the_teacher_is_exported_with_each_checkpoint(train, tmp_path):
    runner = train(**{'custom_hooks': [dict(type='AlgorithmHook'), dict(type='ExportBackboneHook')],
                      'train_cfg.max_epochs': 2})
    with safe_open(tmp_path / 'run/backbone.safetensors', 'pt') as file:
        assert file.metadata()['method'] == 'ToyAlgorithm'
        assert (file.metadata()['epoch'], file.metadata()['iteration']) == ('2', '12')
        weights = {name: file.get_tensor(name) for name in file.keys()}
    teacher = runner.model.teacher.state_dict()
    assert set(weights) == set(teacher) and all(torch.equal(weights[name], teacher[name]) for name in teacher)


def test_what_images_are_normalised_by_is_told_from_0_to_1():
    cifar = ViewsPreprocessor(mean=(125.307, 122.961, 113.8575), std=(51.5865, 50.847, 51.255))
    assert _pixels(cifar) == dict(pixels='{"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.201]}')
    assert _pixels(torch.nn.Identity()) == {}
