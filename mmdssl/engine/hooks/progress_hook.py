"""A progress bar for those who watch."""
from __future__ import annotations

import atexit
import logging
import re
import sys
import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmdssl import news
from mmdssl.engine.log_processor import images_per_second
from mmdssl.registry import HOOKS

KNN = re.compile(r'val/(knn\d+_top1)')
WINDOW = 50  # iterations over whose time the speed is a mean


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar with epoch, time left, loss, images per second and the k-NN of the last validation.

    Where stderr is no terminal, only a line after ten seconds, if the log has none by then.
    """
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        console = Console(stderr=True)
        self.bar = None
        self._first, self._began, self._silent = runner.iter, 0., True
        if not (is_main_process() and console.is_terminal):
            return
        self.bar = Progress(TextColumn('epoch {task.description}'), BarColumn(), MofNCompleteColumn(),
                            TimeRemainingColumn(), TextColumn('{task.fields[values]}'), console=console)
        self.bar.start()
        atexit.register(self.bar.stop)  # gives the terminal its cursor back after an error
        self.task = self.bar.add_task(self._epoch(runner), total=runner.max_iters, completed=runner.iter, values='')
        # log lines are printed above the bar, unless they go to a file
        self._handlers = [(handler, handler.setStream(sys.stdout)) for handler in runner.logger.handlers
                          if type(handler) is logging.StreamHandler and handler.stream.isatty()]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.bar:
            self.bar.update(self.task, completed=runner.iter + 1, description=self._epoch(runner), values=self._values(runner))
        elif runner.iter == self._first:  # which takes longer than others
            self._began = time.monotonic()
        elif self._silent:
            self._foretell(runner, runner.iter - self._first, time.monotonic() - self._began)

    def after_train(self, runner: Runner) -> None:
        if self.bar:
            for handler, stream in self._handlers:
                handler.setStream(stream)
            self.bar.stop()

    def _foretell(self, runner: Runner, iterations: int, seconds: float) -> None:
        """What so many iterations, which took so long, say about the next line and the end."""
        interval = min((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), default=0)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            interval = min(interval, len(runner.train_dataloader))  # a shorter epoch ends with a line
        self._silent = iterations < interval and seconds < news.SECONDS / 2
        if not self._silent and iterations < interval:
            each = seconds / iterations
            left = runner.max_iters - runner.iter
            line, end = (timedelta(seconds=round(number * each)) for number in (interval, left))
            more = f'a line comes every {interval}, in {line}, and the end in {end}' if interval < left else f'the end comes in {end}'
            runner.logger.info(f'An iteration takes {each:.1f} s: {more}.')

    @staticmethod
    def _values(runner: Runner) -> str:
        scalars, values = runner.message_hub.log_scalars, []
        if 'train/loss' in scalars:
            values.append(f'loss {scalars["train/loss"].current():.4g}')
        if 'train/time' in scalars:
            values.append(f'{images_per_second(runner, scalars["train/time"].mean(WINDOW))} images/s')
        measured = sorted(filter(KNN.match, scalars), key=lambda name: (name != 'val/knn20_top1', name))
        values += [f'{KNN.match(name)[1]} {scalars[name].current():.1f}' for name in measured[:1]]
        return '  '.join(values)

    @staticmethod
    def _epoch(runner: Runner) -> str:
        return f'{runner.epoch + 1}/{runner.max_epochs}'
