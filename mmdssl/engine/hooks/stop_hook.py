"""A run that is asked to end."""
from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine import hooks
from mmengine.device import get_device
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdssl.engine.hooks.checkpoint_hook import CheckpointHook
from mmdssl.engine.optim_wrapper import start_reading
from mmdssl.errors import Stopped
from mmdssl.registry import HOOKS

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
SAME = 5.  # seconds in which a launcher may pass on what its processes were sent themselves


@HOOKS.register_module()
class StopHook(Hook):
    """Ends a run that is sent SIGTERM or SIGUSR1 with a checkpoint from which ``--resume`` continues exactly.

    The step is finished first; a validation is left between two of its batches, to be repeated, or where it is by k-NN
    finished too. Of several processes it is enough that one is asked: all stop after the same iteration, at the latest
    the one after. A second signal, later than 5 s after the first, ends the process at once. Our runner always has
    this hook.
    """
    priority = 'LOWEST'  # after what belongs to the step

    def __init__(self):
        self.received: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive signals in this block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = signal.Signals(number), now
        elif now - self._since > SAME:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._ask(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._read():
            self._stop(runner, runner.iter + 1)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._ask(runner)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._read():
            self._stop(runner, runner.iter)

    def after_val(self, runner: Runner) -> None:
        self._ask(runner)
        if self._read() and runner.iter < runner.max_iters:
            self._stop(runner, runner.iter)

    def _ask(self, runner: Runner) -> None:
        """Ask all processes, before the step whose loss they wait for anyway: then nobody waits for the answer."""
        self._read = lambda: self.received is not None
        if runner.distributed:
            self._read = start_reading(torch.full((), float(self.received is not None), device=get_device()))

    def _stop(self, runner: Runner, iteration: int) -> None:
        checkpoints = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if checkpoints is None and any(isinstance(hook, hooks.CheckpointHook) for hook in runner.hooks):
            runner.logger.warning("the run stops without a checkpoint: use mmdssl's CheckpointHook, which can save at any iteration")
        if checkpoints is not None:
            checkpoints.save_now(runner, iteration)
        runner.visualizer.close()
        barrier()  # whoever ends first may have the others killed, and the main process is still writing
        raise Stopped(f'{self.received.name if self.received else "a signal to another process"} came, and iteration {iteration} is done')
