"""Processes that load data, for real."""
from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch.utils.data import Dataset

from mmdssl.datasets.views import Views
from mmdssl.datasets.workers import shared_bytes
from mmdssl.engine import Runner
from mmdssl.engine.faults import explain_fault


class NoRoom:
    """Stands for a tensor that finds no shared memory when it is sent."""

    def __reduce__(self):
        raise RuntimeError('unable to allocate shared memory(shm) for file </torch_7_3>: No space left on device (28)')


class Items(Dataset):

    def __init__(self, length=6):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index


def loader_of(collate, length=6):
    return Runner.build_dataloader(dict(dataset=Items(length), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=2,
                                        num_workers=1, collate_fn=collate, timeout=20), seed=0)


def no_room(samples):
    return NoRoom()


def pids(samples):
    return os.getpid(), samples


def test_a_batch_that_finds_no_shared_memory_is_an_error_and_not_waited_for():
    with pytest.raises(RuntimeError, match='unable to allocate shared memory') as raised:
        next(iter(loader_of(no_room)))
    assert 'docker run --shm-size' in explain_fault(raised.value) and 'num_workers=0' in explain_fault(raised.value)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGUSR1])
def test_workers_leave_signals_to_the_process_that_trains(number):
    batches = iter(loader_of(pids))
    worker, _ = next(batches)
    os.kill(worker, number)
    assert [samples for _, samples in batches] == [[2, 3], [4, 5]]


def test_a_worker_ends_by_its_parents_sigterm_alone():
    batches = iter(loader_of(pids))
    worker, _ = next(batches)
    if os.fork() == 0:
        os.kill(worker, signal.SIGTERM)
        os._exit(0)
    os.wait()
    time.sleep(0.2)
    assert [samples for _, samples in batches] == [[2, 3], [4, 5]]


def test_a_killed_worker_is_said_in_a_sentence():
    batches = iter(loader_of(pids, length=10_000))  # more than it has sent before it is killed
    worker, _ = next(batches)
    with pytest.raises(RuntimeError) as raised:  # by the signal of its death, from here on, or, if that comes late, without its data
        os.kill(worker, signal.SIGKILL)
        list(batches)
    assert 'was killed, most likely because the machine or job ran out of memory' in explain_fault(raised.value)


def test_shared_memory_of_a_batch_is_that_of_its_tensors(make_views):
    whole = torch.zeros(10, 10)
    assert shared_bytes(dict(a=[whole, whole[2:]], b='text', c=3)) == 400
    views = make_views(batch_size=4)
    tensors = [value for group in views.groups.values() for value in vars(group).values() if isinstance(value, torch.Tensor)]
    assert isinstance(views, Views) and shared_bytes(views) >= sum(tensor.nbytes for tensor in tensors) > 4 * 2 * 3 * 32 * 32 * 4
