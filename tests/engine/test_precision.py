"""Mixed precision that is no gain is told of."""
from __future__ import annotations

import re

import pytest
import torch

from mmdssl.engine import precision

AMP = {'optim_wrapper.amp': 'bf16'}


@pytest.fixture
def costs(monkeypatch):
    """Function that makes bf16 take so many times as long as fp32."""
    return lambda cost: monkeypatch.setattr(precision, '_time_in_bf16', lambda width: cost)


def lines(runner) -> list[str]:
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        return [line for line in file if 'bf16' in line and ' - mmengine - ' in line]


@pytest.mark.parametrize('cost, level, words', [(0.5, 'INFO', 'takes 0.50 of its time in fp32'),
                                                (9., 'WARNING', 'bf16 is slow on this CPU: .* 9.0 times as long as in fp32')])
def test_the_log_says_once_what_bf16_costs(train, costs, cost, level, words):
    costs(cost)
    line, = lines(train(**AMP))
    assert f' - {level} - ' in line
    assert re.search(words, line)


def test_without_mixed_precision_nothing_is_measured(train, costs, monkeypatch):
    monkeypatch.setattr(precision, '_time_in_bf16', None)
    assert not lines(train())


def test_it_is_measured_by_the_clock_and_changes_no_random_numbers(monkeypatch):
    ticks = iter([0, 9, 10, 11, 20, 29])  # warming up takes 9 s, fp32 1 s and bf16 9 s
    monkeypatch.setattr(precision.time, 'perf_counter', lambda: next(ticks))
    before = torch.get_rng_state()
    assert precision._time_in_bf16.__wrapped__(100) == 9
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_close_is_measured_again(monkeypatch):
    ends = iter([9, 1, 2, 3, 2, 4, 1.5, 1, 1.2])
    ticks = iter([tick for end in ends for tick in (0, end)])
    monkeypatch.setattr(precision.time, 'perf_counter', lambda: next(ticks))
    assert precision._time_in_bf16.__wrapped__(64) == pytest.approx(1 / 2)
