"""Randomness that depends on a key alone."""
from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed the global generators of PyTorch (CPU), NumPy and Python from non-negative integers, then restore them.

    torchvision's and most third-party transforms draw from these and take no generator of one's own.
    """
    cpu = torch.default_generator  # torch.manual_seed would seed the accelerator too
    states = cpu.get_state(), np.random.get_state(), random.getstate()
    seeds = np.random.SeedSequence(key).generate_state(3).tolist()
    try:
        cpu.manual_seed(seeds[0])
        np.random.seed(seeds[1])
        random.seed(seeds[2])
        yield
    finally:
        cpu.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
