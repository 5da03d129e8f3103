"""An early sign that a run is dying."""
from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.evaluation.collapse import WATCHED, CollapseMonitor
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs the algorithm's diagnostics, for instance the effective rank of its features, and says when it collapses.

    Args:
        interval: Iterations from one check to the next.
        grace: Epochs at the start that are logged but not judged.
        stop: Whether a collapse stops the run instead of only warning.
        patience: Checks in a row that must agree; this and the rest as in
            :class:`mmdssl.evaluation.collapse.CollapseMonitor`.
        margin: See there.
        min_kl: See there.
        min_rank: See there.
    """

    def __init__(self, interval: int = 50, grace: int = 1, stop: bool = False, patience: int = 3, margin: float = 0.01,
                 min_kl: float = 1e-3, min_rank: float = 0.1):
        self.interval = interval
        self.grace = grace
        self.stop = stop
        self.limits = dict(patience=patience, margin=margin, min_kl=min_kl, min_rank=min_rank)

    def before_train(self, runner: Runner) -> None:
        self.monitor = CollapseMonitor(getattr(unwrap(runner.model), 'num_prototypes', None), **self.limits)
        past = runner.message_hub.log_scalars.get('train/effective_rank')
        self.monitor.best_rank = float(past.max()) if past else 0.

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        runner.call_hook('read_values')
        scalars = runner.message_hub.log_scalars
        values = {name: float(scalars[f'train/{name}'].mean(self.interval))
                  for name in WATCHED if f'train/{name}' in scalars}
        values.update(self._diagnostics(runner))
        sentence = self.monitor.check(values) if runner.epoch >= self.grace else None
        if sentence and self.stop:
            raise InputError(f'the run was stopped in iteration {runner.iter + 1} because it collapsed: {sentence}')
        if sentence:
            runner.logger.warning(f'COLLAPSE: {sentence}')

    def _diagnostics(self, runner: Runner) -> dict[str, float]:
        """Those of the algorithm, averaged over processes and sent to the log."""
        values = unwrap(runner.model).diagnostics()
        mean = torch.tensor(list(values.values()))
        all_reduce(mean, 'mean')
        values = dict(zip(values, mean.tolist()))
        for name, value in values.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        return values
