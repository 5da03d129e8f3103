"""Signs that the features of a self-supervised run are dying."""
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


WATCHED = ('loss_cls', 'entropy', 'kl', 'effective_rank')


def effective_rank(features: Tensor) -> float:
    """How many directions features really use: ``exp(H(s / sum s))``, s the singular values of the centred features.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007.

    Args:
        features: ``(n, D)``.

    Returns:
        From 1 (all on one line, or all the same) to ``min(n, D)``.
    """
    features = features.double()
    spread = torch.linalg.svdvals(features - features.mean(0))
    spread = spread[spread > 1e-6 * features.norm()]  # below that it is the rounding of fp32 features
    shares = spread / spread.sum()
    return torch.special.entr(shares).sum().exp().item()


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
