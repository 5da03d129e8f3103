from __future__ import annotations

import re

import pytest


def lines(runner) -> list[str]:
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        return [line for line in file if 'Epoch(train)' in line]


def test_the_line_tells_speed_waiting_and_memory(train):
    for line in lines(train()):
        seconds, waited, speed, percent = (float(re.search(rf' {name}: ([\d.]+)', line)[1]) for name in (
            'time', 'data_time', 'images_per_second', 'data_wait'))
        # the seconds are printed with four digits
        assert 4 / (seconds + 6e-5) - 1 <= speed <= 4 / max(seconds - 6e-5, 1e-9) + 1
        assert 100 * (waited - 6e-5) / (seconds + 6e-5) - 1 <= percent <= 100 * (waited + 6e-5) / (seconds - 6e-5) + 1
        assert 10 < int(re.search(r'memory: (\d+)', line)[1]) < 100_000


def test_values_are_smoothed_over_the_window(train):
    runner = train(**{'log_processor.window_size': 3})
    for name in ('loss_cls', 'entropy'):
        values = runner.message_hub.get_scalar(f'train/{name}').data[0]
        printed = float(re.search(rf' {name}: ([\d.]+)', lines(runner)[-1])[1])
        assert printed == pytest.approx(values[-3:].mean(), abs=1e-4) != pytest.approx(values[-1], abs=1e-4)
