"""How commands end."""
from __future__ import annotations

import pytest

from mmdssl.cli import guard
from mmdssl.errors import Stopped


def stop() -> None:
    raise Stopped('SIGTERM came')


@pytest.mark.parametrize('main, others, code, waited', [(True, False, 75, 0.), (True, True, 75, guard.SHUTDOWN), (False, True, 0, None)])
def test_the_main_process_of_a_stopped_run_ends_last(monkeypatch, capsys, main, others, code, waited):
    waits = []
    monkeypatch.setattr(guard, '_is_main_process', lambda: main)
    monkeypatch.setattr(guard, '_has_others', lambda: others)
    monkeypatch.setattr(guard.time, 'sleep', waits.append)
    assert guard.guarded(stop, lambda: 'go on with --resume') == code
    assert waits == ([] if waited is None else [waited])
    assert capsys.readouterr().err == ('stopped: SIGTERM came; go on with --resume\n' if main else '')
