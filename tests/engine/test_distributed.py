"""Two gloo processes."""
from __future__ import annotations

import json

import pytest
import torch
from processes import run_ranks
from toy import history, train_as_rank

PLAIN = {'model.dropout': 0., 'optim_wrapper.optimizer.lr': 0., 'default_hooks.logger.interval': 4,
         'custom_hooks': [dict(type='AlgorithmHook'), dict(type='CollapseHook', interval=3)]}
SAVED = {**PLAIN, 'train_dataloader.batch_size': 2, 'optim_wrapper.optimizer.lr': 0.01,
         'default_hooks.checkpoint': dict(type='CheckpointHook')}
ASKED = [*PLAIN['custom_hooks'], dict(type='SignalHook', at=8, rank=1)]
RUNS = dict(fine={**PLAIN, 'train_dataloader.batch_size': 2}, whole=SAVED,
            asked={**SAVED, 'custom_hooks': ASKED}, **{'asked-resumed': {**SAVED, 'resume': True}},
            bad={'train_dataloader.dataset.bad': 5})


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Folder in which two processes have left their results of ``RUNS``."""
    folder = tmp_path_factory.mktemp('two')
    run_ranks(train_as_rank, 2, folder, RUNS)
    return folder


def test_logged_losses_are_those_of_the_whole_batch(two, train):
    one = history(train(**PLAIN))
    first, second = (json.loads((two / f'fine.{rank}').read_text()) for rank in range(2))
    assert first == second and len(first) == len(one) == 18
    assert first == pytest.approx(one, rel=1e-6)


def test_a_bad_loss_on_one_process_stops_all_before_the_step(two):
    assert all('not finite in iteration' in (two / f'bad.{rank}').read_text() for rank in range(2))
    replays = [torch.load(file, weights_only=True) for file in sorted((two / 'bad').glob('replay_*.pth'))]
    assert [bool(replay['data_batch'].isnan().any()) for replay in replays] in ([True, False], [False, True])
    weights = [replay['state_dict']['student.0.weight'] for replay in replays]
    assert torch.equal(*weights) and weights[0].isfinite().all()


def test_all_processes_stop_after_the_same_iteration_when_one_is_asked(two):
    told = [(two / f'asked.{rank}').read_text() for rank in range(2)]
    assert told == ['a signal to another process came, and iteration 8 is done', 'SIGTERM came, and iteration 8 is done']
    assert (two / 'asked/interrupted.pth').exists() is False and (two / 'asked/epoch_3.pth').exists()
    for rank in range(2):
        assert json.loads((two / f'asked-resumed.{rank}').read_text()) == json.loads((two / f'whole.{rank}').read_text())
    states = [torch.load(two / name / 'epoch_3.pth', weights_only=False)['state_dict'] for name in ('whole', 'asked')]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
