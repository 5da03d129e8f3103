"""A queue of features."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from torch import Tensor, nn

from mmdssl.errors import InputError


class FeatureQueue(nn.Module):
    """The last features of all processes, the same on each; part of a checkpoint, so that a resumed run has them.

    Args:
        size: Features to keep, of each of the ``number`` kinds.
        dim: Their width.
        number: Kinds that are kept apart, such as views; None for a single one.

    Attributes:
        features: ``(size, D)``, or ``(number, size, D)``: random unit vectors in the beginning, in the order of a ring.
        full: Whether all of them were pushed.
    """

    def __init__(self, size: int, dim: int, number: int | None = None):
        super().__init__()
        shape = (size, dim) if number is None else (number, size, dim)
        self.register_buffer('features', F.normalize(torch.randn(shape), dim=-1))
        self._pushed = 0  # no buffer: the device is not asked where the next ones go

    @property
    def full(self) -> bool:
        return self._pushed >= self.features.shape[-2]

    @torch.no_grad()
    def push(self, features: Tensor) -> None:
        """Let those of all processes, ``(B, D)`` or ``(number, B, D)`` from each, take the place of the oldest.

        Raises:
            InputError: They are more than the queue holds.
        """
        features = torch.cat(all_gather(features.detach().to(self.features).contiguous()), dim=-2)
        size, count = self.features.shape[-2], features.shape[-2]
        if count > size:
            raise InputError(f'a queue of {size} features cannot hold the {count} of one step: make it larger, or the batch smaller')
        places = torch.arange(self._pushed, self._pushed + count, device=features.device) % size
        self.features.index_copy_(-2, places, features)
        self._pushed += count

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self._pushed)

    def set_extra_state(self, state: Tensor) -> None:
        self._pushed = int(state)
