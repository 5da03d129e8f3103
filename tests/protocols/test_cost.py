from __future__ import annotations

import pytest
import torch
from torch import nn

from mmdssl.errors import InputError
from mmdssl.models import backbones  # noqa: F401  registers them
from mmdssl.protocols.cost import CostMetric, count_flops, device_name
from mmdssl.registry import MODELS


def test_operations_of_a_transformer_by_hand(tiny_backbone):
    backbone = MODELS.build(tiny_backbone).eval()
    depth, dim, tokens, patches = 2, 16, 17, 16
    block = 12 * tokens * dim**2 + 2 * tokens**2 * dim  # qkv, projection and MLP; queries by keys, weights by values
    by_hand = 2 * (patches * 3 * 8**2 * dim + depth * block)
    with torch.no_grad():
        assert count_flops(backbone, torch.randn(1, 3, 32, 32)) == by_hand
        assert count_flops(backbone, torch.randn(3, 3, 32, 32)) == 3 * by_hand


def test_what_is_measured_on_a_processor(tiny_backbone):
    backbone = MODELS.build(tiny_backbone).train()
    batches = []
    backbone.features, features = lambda images: batches.append(images.shape) or features(images), backbone.features
    found = CostMetric(size=32, batch_size=4, batches=3)(backbone)
    assert set(found) == {'parameters', 'gflops', 'images_per_second'}  # and no memory, which cannot be told
    assert found['parameters'] == pytest.approx(sum(p.numel() for p in backbone.parameters()) / 1e6)
    assert batches == [(1, 3, 32, 32)] + 5 * [(4, 3, 32, 32)]
    batches.clear()
    CostMetric(size=32, seconds=1e-9)(backbone)
    assert batches == [(1, 3, 32, 32)] + 3 * [(8, 3, 32, 32)]
    assert backbone.training and 'threads' in device_name(torch.device('cpu'))


def test_a_network_without_features():
    with pytest.raises(InputError, match='features.images., which Linear does not have'):
        CostMetric()(nn.Linear(2, 2))
