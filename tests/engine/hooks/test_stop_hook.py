"""Signals sent to this very process."""
from __future__ import annotations

import signal

import pytest
import torch
from toy import colour_folders, history, knn_config

from mmdssl.engine.hooks import stop_hook
from mmdssl.errors import Stopped

EVERY_5 = {'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=5, max_keep_ckpts=1)}
BY_EPOCH = {'default_hooks.checkpoint': dict(type='CheckpointHook', max_keep_ckpts=1)}


def sent(at: int, **kwargs) -> dict:
    return {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='SignalHook', at=at, **kwargs)]}


@pytest.mark.parametrize('at', [1, 8, 12, 18])
@pytest.mark.parametrize('hook', [EVERY_5, BY_EPOCH])
def test_a_stopped_run_resumes_to_the_same_weights(train, tmp_path, at, hook):
    changes = {**hook, 'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]}
    whole = train(**changes, name='whole')
    with pytest.raises(Stopped, match=f'SIGTERM came, and iteration {at} is done'):
        train(**changes, **sent(at))
    folder = tmp_path / 'run'
    saved = 'iter_18.pth' if hook is EVERY_5 and at == 18 else 'interrupted.pth'
    assert (folder / 'last_checkpoint').read_text() == str(folder / saved)
    resumed = train(**changes, resume=True)
    assert history(resumed) == history(whole)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.model.steps_taken == 18 - at
    assert [file.name for file in folder.glob('*.pth')] == ['iter_18.pth' if hook is EVERY_5 else 'epoch_3.pth']


def test_what_was_just_saved_is_not_saved_again(train, tmp_path):
    with pytest.raises(Stopped):
        train(**EVERY_5, **sent(10))
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(tmp_path / 'run/iter_10.pth')
    assert not (tmp_path / 'run/interrupted.pth').exists()


def test_a_validation_is_finished_before_the_run_stops(train, tmp_path):
    changes = {**knn_config(colour_folders(tmp_path / 'data')), 'default_hooks.checkpoint': dict(type='CheckpointHook', interval=2)}
    whole = train(**changes, name='whole')
    with pytest.raises(Stopped, match='iteration 6 is done'):
        train(**changes, **sent(6, validation=True))
    resumed = train(**changes, resume=True)
    assert history(resumed) == history(whole)
    assert len(resumed.message_hub.get_scalar('val/knn3_top1').data[0]) == 3


def test_a_run_that_has_all_but_ended_ends(train, tmp_path):
    assert train(**knn_config(colour_folders(tmp_path / 'data')), **sent(18, validation=True)).iter == 18


def test_a_signal_that_a_launcher_repeats_counts_once(train):
    with pytest.raises(Stopped):
        train(**sent(8, numbers=(signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM)))


def test_a_second_signal_ends_the_process_at_once(train, monkeypatch):
    class EndedAtOnce(Exception):
        pass

    def end(number):
        assert signal.getsignal(number) is signal.SIG_DFL
        raise EndedAtOnce
    monkeypatch.setattr(stop_hook, 'SAME', -1.)
    monkeypatch.setattr(signal, 'raise_signal', end)
    with pytest.raises(EndedAtOnce):
        train(**sent(8, numbers=(signal.SIGUSR1, signal.SIGUSR1)))


def test_signals_are_the_owners_again_after_a_run(train):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Stopped):
        train(**sent(1))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before
