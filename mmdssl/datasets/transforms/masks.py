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
        ratio = random.uniform(*random.choice(self.ranges))
        return torch.from_numpy(self.draw(grid, self.target(ratio, grid * grid)))

    def target(self, ratio: float, patches: int) -> float:
        """So many of the patches are to be masked."""
        return ratio * patches

    @abstractmethod
    def draw(self, grid: int, target: float) -> np.ndarray:
        """A ``(grid, grid)`` mask with at most ``target`` masked patches."""


@TRANSFORMS.register_module()
class BlockMask(TokenMask):
    """Masks rectangles of random place, area and aspect until no further one fits into the target count.

    Arguments are those of :class:`TokenMask`, and:

    Args:
        aspect: Smallest height over width of a block; the largest is its inverse, log-uniform between them.
        min_area: Patches of the smallest block; None for ``(G // 3)**2``, 16 of 14 x 14 (BEiT).
    """

    def __init__(self, patch_size: PositiveInt = 16, ratio: Share | Sequence[Share] = .3,
                 variance: Share | Sequence[Share] = 0., aspect: Positive = .3, min_area: PositiveInt | None = None):
        super().__init__(patch_size, ratio, variance)
        self.log_aspect = abs(math.log(aspect))
        self.min_area = min_area

    def draw(self, grid: int, target: float) -> np.ndarray:
        mask = np.zeros((grid, grid), dtype=bool)
        while target - mask.sum() >= 1 and self._add_block(mask, target - mask.sum()):
            pass
        return mask

    def _add_block(self, mask: np.ndarray, rest: float) -> bool:
        """Mask one more block of at most ``rest`` new patches; False if 10 attempts found none."""
        grid = len(mask)
        smallest = (grid // 3)**2 if self.min_area is None else self.min_area
        for _ in range(10):
            # Once the rest is below the smallest area the bounds are swapped: smaller blocks then fill up.
            area = random.uniform(smallest, rest)
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
    """Masks exactly ``int(ratio * G * G)`` patches at random places.

    Arguments are those of :class:`TokenMask`, and:

    Args:
        leave: Leave exactly ``int((1 - ratio) * G * G)`` patches instead, as MAE counts, which may mask one more.
    """

    def __init__(self, patch_size: int = 16, ratio: float | Sequence[float] = .3,
                 variance: float | Sequence[float] = 0., leave: bool = False):
        super().__init__(patch_size, ratio, variance)
        self.leave = leave

    def target(self, ratio: float, patches: int) -> float:
        return patches - int(patches * (1 - ratio)) if self.leave else super().target(ratio, patches)

    def draw(self, grid: int, target: float) -> np.ndarray:
        mask = np.zeros(grid * grid, dtype=bool)
        mask[random.sample(range(grid * grid), int(target))] = True
        return mask.reshape(grid, grid)
