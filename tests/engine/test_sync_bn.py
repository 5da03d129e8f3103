"""Batch normalisation over all processes, as far as it can be seen without several GPUs; on CPUs see ``test_sync_norm``."""
from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import nn

from mmdssl.engine import Runner
from mmdssl.models.layers.sync_norm import SyncBatchNorm


@pytest.mark.parametrize('gpu', [True, False])
def test_norms_are_synchronised_and_keep_the_activation_inside_them(gpu, monkeypatch):
    runner = object.__new__(Runner)
    runner._distributed, runner.cfg = True, Config(dict(sync_bn='torch'))
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr('mmdssl.engine.runner.get_device', lambda: 'cpu')
    monkeypatch.setattr('mmdssl.engine.runner.MMDistributedDataParallel', lambda model, **options: model)
    model = runner.wrap_model(None, nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4), nn.BatchNorm2d(4)).eval())
    kinds = [SyncBatchNormAct, nn.SyncBatchNorm] if gpu else [SyncBatchNorm, SyncBatchNorm]
    assert [type(module) for module in model[1:]] == kinds
    assert isinstance(model[1].act, nn.ReLU)
