"""Token masks, iBOT (https://arxiv.org/abs/2111.07832)."""
from __future__ import annotations

import math
import random
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmdssl.arguments import Positive, PositiveInt, Share
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


class TokenMask(metaclass=ABCMeta):
    """Draws which patches of a crop are masked; ``mask(size)`` gives ``(G, G)`` bool, True where masked.

    Args:
        patch_size: Side of a patch in pixels; G is the crop's side over this.
        ratio: Share of the patches to mask. Several are chosen from with equal chance; 0 leaves the crop unmasked.
        variance: The share is uniform in ``ratio +- variance``; one for all ratios or one for each. iBOT's strong
            recipe is ``ratio=(0, .3), variance=(0, .2)``.
    """

    def __init__(self, patch_size: PositiveInt = 16, ratio: Share | Sequence[Share] = .3,
                 variance: Share | Sequence[Share] = 0.):
        ratios = ratio if isinstance(ratio, Sequence) else [ratio]
        variances = variance if isinstance(variance, Sequence) else [variance] * len(ratios)
        if len(ratios) != len(variances):
            raise InputError(f'a mask with ratio={ratio} has variance={variance}: give one variance, or one per ratio')
        self.ranges = [(mean - spread, mean + spread) for mean, spread in zip(ratios, variances)]
        if not all(0 <= low <= high < 1 for low, high in self.ranges):
            raise InputError(f'a mask with ratio={ratio} and variance={variance}: ratio - variance must be at least 0, '
                             'ratio + variance below 1')
        self.patch_size = patch_size

    def __call__(self, size: int) -> Tensor:
        grid = size // self.patch_size
        target = random.uniform(*random.choice(self.ranges)) * grid * grid
        return torch.from_numpy(self.draw(grid, target))

    @abstractmethod
    def draw(self, grid: int, target: float) -> np.ndarray:
        """A ``(grid, grid)`` mask with at most ``target`` masked patches."""


@TRANSFORMS.register_module()
class BlockMask(TokenMask):
    """Masks rectangles of random place, area and aspect until no further one fits into the target count.

    Arguments are those of :class:`TokenMask`, and:

    Args:
        aspect: Smallest height over width of a block; the largest is its inverse, log-uniform between them.
    """

    def __init__(self, patch_size: PositiveInt = 16, ratio: Share | Sequence[Share] = .3,
                 variance: Share | Sequence[Share] = 0., aspect: Positive = .3):
        super().__init__(patch_size, ratio, variance)
        self.log_aspect = abs(math.log(aspect))

    def draw(self, grid: int, target: float) -> np.ndarray:
        mask = np.zeros((grid, grid), dtype=bool)
        while target - mask.sum() >= 1 and self._add_block(mask, target - mask.sum()):
            pass
        return mask

    def _add_block(self, mask: np.ndarray, rest: float) -> bool:
        """Mask one more block of at most ``rest`` new patches; False if 10 attempts found none."""
        grid = len(mask)
        for _ in range(10):
            # Once the rest is below the smallest area the bounds are swapped: smaller blocks then fill up.
            area = random.uniform((grid // 3) ** 2, rest)
            aspect = math.exp(random.uniform(-self.log_aspect, self.log_aspect))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if max(height, width) >= grid:
                continue
            top, left = random.randint(0, grid - height), random.randint(0, grid - width)
            block = mask[top:top + height, left:left + width]
            if 0 < height * width - block.sum() <= rest:
                block[:] = True
                return True
        return False


@TRANSFORMS.register_module()
class RandomMask(TokenMask):
    """Masks exactly ``int(ratio * G * G)`` patches at random places; arguments of :class:`TokenMask`."""

    def draw(self, grid: int, target: float) -> np.ndarray:
        mask = np.zeros(grid * grid, dtype=bool)
        mask[random.sample(range(grid * grid), int(target))] = True
        return mask.reshape(grid, grid)
