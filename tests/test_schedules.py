"""Schedules against closed forms."""
from __future__ import annotations

import math

import numpy as np
import pytest

from mmdssl.schedules import Progress, cosine, warmup_epochs


def at(iteration: int = 0, epoch: int = 0) -> Progress:
    return Progress(iteration, 200, epoch, 100)


@pytest.mark.parametrize('start, end', [(0.996, 1.), (0.04, 0.4), (1., 1e-6)])
def test_cosine_is_half_a_cosine_over_the_run(start, end):
    """``f + (b - f) (1 + cos(pi i / T)) / 2`` for i = 0 .. T-1."""
    values = [cosine(start, end, at(iteration=i)) for i in range(200)]
    expected = end + 0.5 * (start - end) * (1 + np.cos(np.pi * np.arange(200) / 200))
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert values[0] == pytest.approx(start, rel=1e-12)
    assert values[100] == pytest.approx((start + end) / 2)
    assert 0 < abs(values[-1] - end) < 1e-3 * abs(start - end), 'the end itself would be reached at i = T'


def test_cosine_by_the_half_angle():
    """``sin^2(pi i / 2T)`` is the share of the way that lies behind."""
    for i in (0, 1, 37, 150, 199):
        assert cosine(2., 5., at(iteration=i)) == pytest.approx(2 + 3 * math.sin(math.pi * i / 400) ** 2, abs=1e-12)


@pytest.mark.parametrize('start, end', [(0.04, 0.07), (0.9, 0.1), (0.04, 0.04)])
@pytest.mark.parametrize('epochs', [0, 1, 2, 30])
def test_warmup_is_a_linspace_then_constant(start, end, epochs):
    values = [warmup_epochs(start, end, epochs, at(epoch=epoch)) for epoch in range(100)]
    expected = np.concatenate([np.linspace(start, end, epochs), np.full(100 - epochs, end)])
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_warmup_means_the_same_in_a_shorter_run():
    long, short = Progress(0, 1000, 3, 100), Progress(0, 50, 3, 5)
    values = [warmup_epochs(0.04, 0.07, 30, progress) for progress in (long, short)]
    assert values == pytest.approx([0.04 + 3 * 0.03 / 29] * 2)
