"""Shared memory that is too small, before a run waits for it."""
from __future__ import annotations

import os
import re

import torch
from mmengine.dist import barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdssl.datasets.workers import free_shared_memory, shared_bytes
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS

NEAR = 0.7


@HOOKS.register_module()
class SharedMemoryHook(Hook):
    """Compares the batches that workers may have in flight with the free shared memory, when the first batch is there.

    More than there is stops the run, and from 70% on a warning says so. Our runner always has this hook.
    """

    def before_train(self, runner: Runner) -> None:
        self._free = free_shared_memory()
        barrier()  # nobody loads before all have looked
        self._checked = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if self._checked:
            return
        self._checked = True
        loader, processes = runner.train_dataloader, processes_here()
        if not loader.num_workers or self._free is None:
            return
        # pinned batches leave shared memory as soon as they arrive; without an accelerator none are pinned
        pinned = loader.pin_memory and torch.accelerator.is_available()
        in_flight = loader.num_workers * (1 if pinned else loader.prefetch_factor)
        batch = shared_bytes(data_batch)
        if (needed := processes * in_flight * batch) < NEAR * self._free:
            return
        text = (f'batches that workers have in flight need {_mib(needed)} of shared memory ({processes} '
                f'process{"es" * (processes > 1)} x {in_flight} batches of {_mib(batch)}), and /dev/shm has {_mib(self._free)} free: give '
                f'the container more (docker run --shm-size={2 * needed // 2**30 + 1}g, or --ipc=host), lower '
                'train_dataloader.num_workers, prefetch_factor or batch_size, or load data in the process itself with '
                'train_dataloader.num_workers=0')
        if needed > self._free:
            raise InputError(text)
        runner.logger.warning(text)


def processes_here() -> int:
    """Processes of this run on this machine, as its launcher says."""
    for variable in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'SLURM_NTASKS_PER_NODE', 'SLURM_STEP_TASKS_PER_NODE'):
        if found := re.match(r'\d+', os.environ.get(variable, '')):
            return min(int(found[0]), get_world_size())
    return 1


def _mib(size: int) -> str:
    return f'{size / 2**20:.0f} MiB'
