"""An early sign that a run is dying."""
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdssl.arguments import NonNegative, NonNegativeInt, PositiveInt
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS

WATCHED = ('loss_cls', 'entropy', 'kl', 'effective_rank')
BEST_RANK = 'best_effective_rank'


@HOOKS.register_module()
class CollapseHook(Hook):
    """Logs the algorithm's diagnostics, for instance the effective rank of its features, and says when it collapses.

    Args:
        interval: Iterations from one check to the next.
        grace: Epochs at the start that are logged but not judged.
        stop: Whether a collapse stops the run instead of only warning.
        patience: Checks in a row that must agree; this and the rest as in
            :class:`CollapseMonitor`.
        margin: See there.
        min_kl: See there.
        min_rank: See there.
    """

    def __init__(self, interval: PositiveInt = 50, grace: NonNegativeInt = 1, stop: bool = False, patience: PositiveInt = 3,
                 margin: NonNegative = 0.01, min_kl: NonNegative = 1e-3, min_rank: NonNegative = 0.1):
        self.interval = interval
        self.grace = grace
        self.stop = stop
        self.limits = dict(patience=patience, margin=margin, min_kl=min_kl, min_rank=min_rank)

    def before_train(self, runner: Runner) -> None:
        self.monitor = CollapseMonitor(getattr(unwrap(runner.model), 'num_prototypes', None), **self.limits)
        past = runner.message_hub.log_scalars.get('train/effective_rank')  # all that old checkpoints have
        self.monitor.best_rank = runner.message_hub.get_info(BEST_RANK, float(past.max()) if past else 0.)

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
        if 'effective_rank' in values:  # the history is bounded
            best = max(runner.message_hub.get_info(BEST_RANK, self.monitor.best_rank), values['effective_rank'])
            runner.message_hub.update_info(BEST_RANK, best)
        return values


class CollapseMonitor:
    """Decides from a few numbers whether, and how, a run has collapsed.

    Args:
        num_prototypes: K, to whose uniform distribution's entropy ``ln K`` loss and entropy are compared; None judges
            by KL divergence and rank alone.
        patience: So many checks in a row must agree.
        margin: How close to its limit a value must be, as a share of ``ln K``.
        min_kl: KL divergence, in nats, below which the target has nothing left to teach.
        min_rank: Share of the best effective rank so far below which the features count as dead.

    Attributes:
        best_rank: The best effective rank so far; a resumed run sets it.
    """

    def __init__(self, num_prototypes: int | None, patience: int = 3, margin: float = 0.01, min_kl: float = 1e-3,
                 min_rank: float = 0.1):
        self.uniform = math.log(num_prototypes) if num_prototypes else None
        self.patience = patience
        self.margin = margin
        self.min_kl = min_kl
        self.min_rank = min_rank
        self.best_rank = 0.
        self._in_a_row = 0

    def check(self, values: Mapping[str, float]) -> str | None:
        """Judge the current values.

        Args:
            values: Those of ``WATCHED`` that are known; loss, entropy and KL in nats.

        Returns:
            What is wrong, in a sentence, each time it was wrong ``patience`` times in a row; else None.
        """
        self.best_rank = max(self.best_rank, values.get('effective_rank', 0.))
        sentence = self._sentence(values)
        self._in_a_row = self._in_a_row + 1 if sentence else 0
        if self._in_a_row < self.patience:
            return None
        self._in_a_row = 0
        return sentence

    def _sentence(self, values: Mapping[str, float]) -> str | None:
        loss, entropy, kl, rank = (values.get(name, math.nan) for name in WATCHED)
        if self.uniform:
            near = self.margin * self.uniform
            if abs(loss - self.uniform) < near and entropy > self.uniform - near:
                return (f'the teacher gives every image the uniform distribution (entropy {entropy:.3f} and loss '
                        f'{loss:.3f}, ln K = {self.uniform:.3f}): lower its temperature or look at the views')
            if entropy < near:
                return (f'one prototype takes all images (entropy {entropy:.4f} of at most ln K = {self.uniform:.3f}): '
                        "raise the teacher's temperature or look at its center")
        if kl < self.min_kl:
            return (f'the student already gives the answer of its target (KL divergence {kl:.5f}), so nothing is left to '
                    'learn: look at the views, the temperatures and the momentum of the teacher')
        if rank < self.min_rank * self.best_rank:
            return (f'the features lie in few directions only (effective rank {rank:.1f}, it was '
                    f'{self.best_rank:.1f}): lower the learning rate or raise the temperature of the teacher')
        return None
