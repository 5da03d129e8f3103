"""Training values for the log, without waiting for the device in every iteration."""
from __future__ import annotations

import torch
from mmengine import hooks
from mmengine.dist import all_reduce
from mmengine.runner import Runner
from torch import Tensor

from mmdssl.registry import HOOKS

HISTORY = 1_000
LINES = 2  # of the log, which a run has at least, however short it is


@HOOKS.register_module()
class RuntimeInfoHook(hooks.RuntimeInfoHook):
    """MMEngine's hook, with the losses of every iteration kept on the device until someone wants to read them.

    They are read in one transfer, averaged over processes in one reduction, when the logger prints, at the end of an
    epoch and before a checkpoint. Every iteration's value reaches the message hub, but only the last 1,000 stay there, because
    MMEngine copies the history in every iteration and into every checkpoint. The log's smoothing windows are far shorter (50);
    a longer one of ``log_processor`` keeps as many values as it needs, and ``'epoch'`` and ``'global'`` mean at most 1,000.
    The intervals of loggers shrink where a run is too short for them.
    """

    def __init__(self):
        super().__init__()
        self._names: list[str] = []
        self._values: list[Tensor] = []

    def before_run(self, runner: Runner) -> None:
        """Without MMEngine's copy of the config: a checkpoint has it under ``meta``."""
        runner.message_hub.update_info_dict(dict(seed=runner.seed, experiment_name=runner.experiment_name))
        self.last_loop_stage = None

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        processor = runner.log_processor
        windows = [processor.window_size, *(custom.get('window_size') for custom in processor.custom_cfg)]
        self._history = max([HISTORY, *(window for window in windows if isinstance(window, int))])
        loggers = [hook for hook in runner.hooks if isinstance(hook, hooks.LoggerHook)]
        for hook in loggers:
            hook.interval = min(hook.interval, max(runner.max_iters // LINES, 1))
        self._intervals = [hook.interval for hook in loggers]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if outputs:
            device = outputs['loss'].device
            self._names += [f'train/{name}' for name in outputs]
            self._values.append(torch.stack([torch.as_tensor(value, device=device).detach().reshape(())
                                             for value in outputs.values()]))
        if (any(self.every_n_inner_iters(batch_idx, interval) for interval in self._intervals)
                or self.end_of_epoch(runner.train_dataloader, batch_idx)):
            self.read_values(runner)

    def read_values(self, runner: Runner) -> None:
        """Bring the message hub up to date; every process must call this at the same iteration."""
        if self._values:
            values = torch.cat(self._values)
            all_reduce(values, 'mean')
            for history in runner.message_hub.log_scalars.values():
                history.max_length = self._history
            for name, value in zip(self._names, values.tolist()):
                runner.message_hub.update_scalar(name, value)
            self._names, self._values = [], []
