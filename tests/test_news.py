"""Signs of life of what takes long."""
from __future__ import annotations

import pytest

from mmdssl import news


@pytest.fixture
def clock(monkeypatch):
    """Time as the tests have it, in seconds."""
    now = [0.]
    monkeypatch.setattr(news.time, 'monotonic', lambda: now[0])
    return now


def after(clock: list, seconds: float, number: int):
    """Items, each of which takes so many seconds to come, and none to use."""
    for item in range(number):
        clock[0] += seconds
        yield item


def test_a_line_every_twenty_seconds_says_how_far_it_is(clock):
    lines = []
    assert list(news.with_news(after(clock, 8., 10), 10, 'Counting', lines.append)) == list(range(10))
    assert lines == ['Counting: 30 %', 'Counting: 60 %, 32 s left', 'Counting: 90 %, 8 s left']


def test_what_comes_before_the_first_item_says_nothing_about_the_rest(clock):
    """As where workers start for a minute, and then render ten images a second."""
    def slow_start():
        clock[0] += 60.
        yield from after(clock, 0.1, 1000)
    lines = []
    assert len(list(news.with_news(slow_start(), 1000, 'Rendering', lines.append))) == 1000
    assert lines[:2] == ['Rendering: 0 %', 'Rendering: 20 %, 80 s left']


def test_what_is_quick_has_no_line(clock):
    lines = []
    assert list(news.with_news(after(clock, 1., 20), 20, 'Counting', lines.append)) == list(range(20)) and not lines


def test_where_there_is_no_terminal_a_bar_is_lines(clock, capsys):
    assert list(news.with_bar(after(clock, 30., 2), 2, 'Counting')) == [0, 1]
    assert capsys.readouterr().out == 'Counting ...\nCounting: 50 %\n'


def test_on_a_terminal_it_is_a_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    assert list(news.with_bar(range(2), 2, 'Counting')) == [0, 1]
    assert 'Counting ...' not in capsys.readouterr().out
