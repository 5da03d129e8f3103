from __future__ import annotations

import pytest

from mmdssl.engine.hooks import shared_memory_hook
from mmdssl.errors import InputError

BATCH = 4 * 8 * 4  # bytes
IN_FLIGHT = 2  # of one worker


def test_shared_memory_smaller_than_the_batches_in_flight_is_an_input_error(train, monkeypatch):
    monkeypatch.setattr(shared_memory_hook, 'free_shared_memory', lambda: IN_FLIGHT * BATCH - 1)
    with pytest.raises(InputError, match=r'1 process x 2 batches .*docker run --shm-size=1g.* train_dataloader.num_workers=0'):
        train(**{'train_dataloader.num_workers': 1})


def test_shared_memory_that_is_just_enough_is_a_warning(train, monkeypatch):
    monkeypatch.setattr(shared_memory_hook, 'free_shared_memory', lambda: IN_FLIGHT * BATCH)
    runner = train(**{'train_dataloader.num_workers': 1})
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        assert file.read().count('WARNING - batches that workers have in flight need') == 1


def test_all_processes_of_a_machine_count(train, monkeypatch):
    monkeypatch.setattr(shared_memory_hook, 'free_shared_memory', lambda: 4 * IN_FLIGHT * BATCH - 1)
    monkeypatch.setattr(shared_memory_hook, 'get_world_size', lambda: 8)
    monkeypatch.setenv('SLURM_NTASKS_PER_NODE', '4(x2)')
    with pytest.raises(InputError, match='4 processes x 2 batches'):
        train(**{'train_dataloader.num_workers': 1})


def test_without_workers_nothing_is_shared(train, monkeypatch):
    monkeypatch.setattr(shared_memory_hook, 'free_shared_memory', lambda: 0)
    assert train().iter == 18
