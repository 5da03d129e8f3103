"""Training values for the log, without waiting for the device in every iteration."""
from __future__ import annotations

import torch
from mmengine import hooks
from mmengine.dist import all_reduce
from mmengine.runner import Runner
from torch import Tensor

from mmdssl.registry import HOOKS

HISTORY = 10_000


@HOOKS.register_module()
class RuntimeInfoHook(hooks.RuntimeInfoHook):
    """MMEngine's hook, with the losses of every iteration kept on the device until someone wants to read them.

    They are read in one transfer, averaged over processes in one reduction, when the logger prints, at the end of an
    epoch and before a checkpoint. Every iteration's value reaches the message hub, so smoothing windows stay what
    they are; but only the last 10,000 stay there, because MMEngine copies the history in every iteration and into
    every checkpoint.
    """

    def __init__(self):
        super().__init__()
        self._names: list[str] = []
        self._values: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._intervals = [hook.interval for hook in runner.hooks if isinstance(hook, hooks.LoggerHook)]

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
            for name, value in zip(self._names, values.tolist()):
                runner.message_hub.update_scalar(name, value)
            for history in runner.message_hub.log_scalars.values():
                history.max_length = HISTORY
            self._names, self._values = [], []
