from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import rich.console
from mmengine.hooks import LoggerHook
from toy import colour_folders, knn_config

from mmdssl.engine.hooks import ProgressHook

HOOKS = {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='ProgressHook')]}


def test_silent_where_there_is_no_terminal(train, capfd):
    train(**HOOKS)
    out, err = capfd.readouterr()
    assert err == '' and 'An iteration takes' not in out


def test_without_a_terminal_a_slow_run_says_when_there_will_be_more(train, capfd, monkeypatch):
    monkeypatch.setattr('mmdssl.news.SECONDS', 0.)
    train(**HOOKS, default_hooks=dict(logger=dict(type='LoggerHook', interval=50)))
    said = re.search(r'An iteration takes 0\.\d s: a line comes every (\d+), in 0:00:0\d, and the end in 0:00:0\d\.\n(.*)',
                     capfd.readouterr().out)
    assert f'Epoch(train) [1][{said[1]}/{said[1]}]' in said[2]  # at the end of an epoch that has fewer than 50


def test_near_the_end_only_that_is_told(monkeypatch):
    said, hook = [], ProgressHook()
    monkeypatch.setattr('mmdssl.news.SECONDS', 2.)
    logger = SimpleNamespace(info=said.append)
    runner = SimpleNamespace(hooks=[LoggerHook(interval=5)], train_loop=None, max_iters=10, iter=8, logger=logger)
    hook._foretell(runner, 1, 0.5)
    hook._foretell(runner, 2, 3.)
    assert said == ['An iteration takes 1.5 s: the end comes in 0:00:03.']


def test_a_bar_on_a_terminal(train, capfd, monkeypatch):
    monkeypatch.setattr(rich.console.Console, 'is_terminal', property(lambda self: True))
    train(**HOOKS)
    assert 'epoch 3/3' in capfd.readouterr().err


def test_the_bar_shows_speed_and_the_last_knn(train, monkeypatch, tmp_path):
    monkeypatch.setattr(rich.console.Console, 'is_terminal', property(lambda self: True))
    seen = []
    values = ProgressHook._values
    monkeypatch.setattr(ProgressHook, '_values', staticmethod(lambda runner: seen.append(values(runner)) or seen[-1]))
    runner = train(**HOOKS, **knn_config(colour_folders(tmp_path / 'images')))
    assert 'knn' not in seen[5] and len(seen) == 18
    knn = runner.message_hub.log_scalars['val/knn1_top1'].data[0]
    assert re.fullmatch(rf'loss [\d.e-]+  [\d.]+ images/s  knn1_top1 {knn[1]:.1f}', seen[-1])
    seconds = runner.message_hub.log_scalars['train/time'].mean(50)
    assert float(seen[-1].split('  ')[1].split()[0]) == pytest.approx(4 / seconds, rel=0.02)
