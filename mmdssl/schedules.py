"""Schedules: pure functions of training progress."""
from __future__ import annotations

import math
from typing import NamedTuple

from mmdssl.arguments import NonNegativeInt, Positive

# Start, end and epochs of a temperature, for warmup_epochs.
Temperatures = tuple[Positive, Positive, NonNegativeInt]


class Progress(NamedTuple):
    """Where training stands.

    Attributes:
        iteration: Index of the current iteration, from 0 to ``max_iterations - 1``.
        max_iterations: Iterations of the whole run.
        epoch: Index of the current epoch, from 0.
        max_epochs: Epochs of the whole run.
    """
    iteration: int
    max_iterations: int
    epoch: int
    max_epochs: int


def cosine(start: float, end: float, progress: Progress) -> float:
    """Half a cosine from ``start`` towards ``end``: ``end + (start - end) (1 + cos(pi i / T)) / 2``, i = 0 .. T-1."""
    phase = math.pi * progress.iteration / progress.max_iterations
    return end + 0.5 * (start - end) * (1 + math.cos(phase))


def warmup_epochs(start: float, end: float, epochs: int, progress: Progress) -> float:
    """``linspace(start, end, epochs)`` by epoch, both ends included, then ``end``.

    A run shorter than ``epochs`` sees the first part of the ramp, so that a value means the same in every run.
    """
    if progress.epoch >= epochs:
        return end
    return start + (end - start) * progress.epoch / max(epochs - 1, 1)
