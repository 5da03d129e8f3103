"""A progress bar for those who watch."""
from __future__ import annotations

import atexit
import logging
import sys

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmdssl.registry import HOOKS

SHOWN = ('loss', 'images_per_second', 'knn20_top1')


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar with epoch, loss, images per second and time left; nothing where stderr is not a terminal."""
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        console = Console(stderr=True)
        self.bar = None
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
            scalars = runner.message_hub.log_scalars
            values = '  '.join(f'{name} {scalars[key].current():.4g}' for name in SHOWN
                               for key in (f'train/{name}', f'val/{name}') if key in scalars)
            self.bar.update(self.task, completed=runner.iter + 1, description=self._epoch(runner), values=values)

    def after_train(self, runner: Runner) -> None:
        if self.bar:
            for handler, stream in self._handlers:
                handler.setStream(stream)
            self.bar.stop()

    @staticmethod
    def _epoch(runner: Runner) -> str:
        return f'{runner.epoch + 1}/{runner.max_epochs}'
