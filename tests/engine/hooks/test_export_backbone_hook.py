from __future__ import annotations

import torch
from safetensors import safe_open


def test_the_teacher_is_exported_with_each_checkpoint(train, tmp_path):
    runner = train(**{'custom_hooks': [dict(type='AlgorithmHook'), dict(type='ExportBackboneHook')],
                      'train_cfg.max_epochs': 2})
    with safe_open(tmp_path / 'run/backbone.safetensors', 'pt') as file:
        assert file.metadata()['method'] == 'ToyAlgorithm'
        assert (file.metadata()['epoch'], file.metadata()['iteration']) == ('2', '12')
        weights = {name: file.get_tensor(name) for name in file.keys()}
    teacher = runner.model.teacher.state_dict()
    assert set(weights) == set(teacher) and all(torch.equal(weights[name], teacher[name]) for name in teacher)
