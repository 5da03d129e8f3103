from __future__ import annotations

import math
import re

import pytest
import torch

from mmdssl.evaluation.collapse import CollapseMonitor, effective_rank

K = 1000
HEALTHY = dict(loss_cls=5., entropy=3., kl=2., effective_rank=40.)
UNIFORM = dict(HEALTHY, loss_cls=math.log(K), entropy=math.log(K))


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


@pytest.mark.parametrize('bad, words', [
    (UNIFORM, 'every image the uniform distribution'),
    (dict(HEALTHY, entropy=0.01), 'one prototype takes all images'),
    (dict(HEALTHY, kl=1e-5), 'already gives the answer'),
    (dict(HEALTHY, effective_rank=3.), r'few directions only \(effective rank 3.0, it was 40.0\)'),
])
def test_each_kind_of_collapse_is_named_after_patience(bad, words):
    monitor = CollapseMonitor(K, patience=3)
    assert monitor.check(HEALTHY) is None
    assert [monitor.check(bad), monitor.check(bad)] == [None, None]
    assert re.search(words, monitor.check(bad))


def test_a_healthy_value_in_between_starts_the_count_again():
    monitor = CollapseMonitor(K, patience=2)
    assert [monitor.check(values) for values in (UNIFORM, HEALTHY, UNIFORM, HEALTHY, UNIFORM)] == [None] * 5


@pytest.mark.parametrize('fine', [
    HEALTHY,
    dict(HEALTHY, loss_cls=math.log(K)),  # a loss at ln K alone is how training starts
    dict(HEALTHY, effective_rank=5.),  # more than a tenth of the best
    dict(entropy=3.),
    {},
])
def test_no_false_alarm(fine):
    monitor = CollapseMonitor(K, patience=1)
    monitor.best_rank = 40.
    assert monitor.check(fine) is None


def test_without_prototypes_rank_and_kl_are_judged():
    monitor = CollapseMonitor(None, patience=1)
    assert monitor.check(dict(entropy=0., loss_cls=0.)) is None
    assert monitor.check(dict(kl=0.))
