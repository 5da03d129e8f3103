from __future__ import annotations

import pytest
import torch
from toy import ToyAlgorithm, history

from mmdssl.errors import InputError


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
