"""Schedules: pure functions of training progress."""
from __future__ import annotations

import math
from typing import NamedTuple

from mmdssl.arguments import NonNegative, Positive

# Start, end and epochs of a temperature, for warmup_epochs.
Temperatures = tuple[Positive, Positive, NonNegative]


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


def warmup_epochs(start: float, end: float, epochs: float, progress: Progress) -> float:
    """``linspace(start, end, epochs)`` by epoch, both ends included, then ``end``.

    Epochs that are not whole, as those of a shortened run, make it a ramp by iteration, which reaches ``end`` when they are over.
    A run shorter than ``epochs`` sees the first part of the ramp, so that a value means the same in every run.
    """
    done = epochs_done(progress, epochs)
    if done >= epochs:
        return end
    return start + (end - start) * done / (max(epochs - 1, 1) if whole(epochs) else epochs)


def epochs_done(progress: Progress, limit: float) -> float:
    """Epochs that are over, to be compared with a limit; with the begun one's share where the limit is not whole."""
    return progress.epoch if whole(limit) else progress.iteration * progress.max_epochs / progress.max_iterations


def whole(number: float) -> bool:
    return float(number).is_integer()
