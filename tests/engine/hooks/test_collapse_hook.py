from __future__ import annotations

import math
import re

import pytest
import torch
from toy import ToyAlgorithm, history

from mmdssl.engine.hooks.collapse_hook import CollapseMonitor
from mmdssl.errors import InputError

K = 1000
HEALTHY = dict(loss_cls=5., entropy=3., kl=2., effective_rank=40.)
UNIFORM = dict(HEALTHY, loss_cls=math.log(K), entropy=math.log(K))


def hooks(**kwargs) -> dict:
    return {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='CollapseHook', interval=2, patience=2, **kwargs)]}


@pytest.fixture
def constant_features(monkeypatch):
    """The student's features are the same for every image from the second epoch on."""
    original = ToyAlgorithm.remember_features

    def remember(self, features):
        original(self, features if self.progress.epoch == 0 else torch.ones_like(features))
    monkeypatch.setattr(ToyAlgorithm, 'remember_features', remember)


def test_the_rank_is_logged_at_the_interval(train):
    runner = train(**hooks())
    ranks = history(runner, 'effective_rank')
    assert len(ranks) == 9 and all(1 <= rank <= 4 for rank in ranks)


def test_collapse_is_said_in_plain_words(train, constant_features):
    runner = train(**hooks(grace=0, min_rank=0.6))
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        assert 'COLLAPSE: the features lie in few directions only (effective rank 1.0, it was' in file.read()


def test_collapse_can_stop_the_run(train, constant_features):
    with pytest.raises(InputError, match='stopped in iteration 10 because it collapsed: the features lie in few'):
        train(**hooks(grace=0, stop=True, min_rank=0.6))


def test_nothing_is_judged_in_the_grace(train, constant_features):
    assert train(**hooks(grace=3, stop=True, min_rank=0.6)).iter == 18


def test_a_resumed_run_remembers_its_best_rank(train, constant_features, tmp_path):
    train(**hooks(grace=3))
    with pytest.raises(InputError, match='few directions'):
        train(**hooks(grace=0, stop=True, min_rank=0.6), resume=True, load_from=str(tmp_path / 'run/epoch_2.pth'))


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
