from __future__ import annotations

import rich.console

HOOKS = {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='ProgressHook')]}


def test_silent_where_there_is_no_terminal(train, capfd):
    train(**HOOKS)
    assert capfd.readouterr().err == ''


def test_a_bar_on_a_terminal(train, capfd, monkeypatch):
    monkeypatch.setattr(rich.console.Console, 'is_terminal', property(lambda self: True))
    train(**HOOKS)
    assert 'epoch 3/3' in capfd.readouterr().err
