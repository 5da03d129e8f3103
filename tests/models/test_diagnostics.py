from __future__ import annotations

import math

import pytest
import torch

from mmdssl.models.diagnostics import effective_rank


def test_rank_of_equal_directions_is_their_number():
    axes = torch.eye(5)
    assert effective_rank(torch.cat([axes, -axes])) == pytest.approx(5)
    assert effective_rank(torch.cat([axes, -axes])[:, :3]) == pytest.approx(3)


def test_rank_of_two_directions_of_known_strength():
    """Singular values 3 and 1: shares 3/4 and 1/4."""
    features = torch.tensor([[3., 0.], [-3., 0.], [0., 1.], [0., -1.]]) + torch.tensor([7., -2.])
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('features', [
    torch.ones(8, 4), torch.zeros(8, 4), torch.randn(1, 4), 1e3 + 1e-5 * torch.randn(8, 4),
    torch.linspace(0, 1, 8)[:, None] * torch.ones(4)])
def test_rank_of_dead_features_is_one(features):
    assert effective_rank(features) == pytest.approx(1, abs=1e-4)


def test_rank_of_random_features_is_near_their_width():
    assert 60 < effective_rank(torch.randn(5000, 64)) <= 64
    assert effective_rank(torch.randn(16, 64)) <= 16
