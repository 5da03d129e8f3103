"""Views that share one family of augmentations with a query, LooC (https://arxiv.org/abs/2008.05659)."""
from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.transforms.crops import CropViews
from mmdssl.datasets.transforms.photometric import Photometric
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LeaveOneOutViews(CropViews):
    """The n + 2 views of LooC for n families of augmentations: a query, a key, and a key for each family.

    Each view is a crop of its own, flipped or not, to which all families are applied in their order. The augmentation of family i
    is drawn once for the query and key i + 1 together (views 0 and i + 2); all others are drawn anew for every view.

    Args:
        size: As the next ones, of :class:`CropViews`.
        scale: See there.
        families: By name, the arguments of a :class:`Photometric` (or of another transform of PIL images, named by ``type``) that
            makes one family of augmentations.
        ratio: See there.
        flip: See there.
        interpolation: See there.
    """

    def __init__(self, size: int, scale: tuple[float, float], families: Mapping[str, Mapping],
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), flip: float = .5, interpolation: str = 'bicubic'):
        if not families:
            raise InputError(f'views of size {size} have no families of augmentations: give LeaveOneOutViews at least one, for instance '
                             "families=dict(rotation=dict(type='RightAngle'))")
        super().__init__(size, scale, len(families) + 2, ratio, flip, interpolation=interpolation)
        self.families = {name: TRANSFORMS.build({'type': Photometric, **recipe}) for name, recipe in families.items()}

    def recipes(self) -> Sequence[Sequence[Callable]]:
        number = len(self.families)
        seeds = [[random.getrandbits(32) for _ in range(number)] for _ in range(number + 2)]
        for i in range(number):
            seeds[i + 2][i] = seeds[0][i]
        return [[_Seeded(family, seed) for family, seed in zip(self.families.values(), drawn)] for drawn in seeds]


class _Seeded:
    """A transform that draws from a seed of its own."""

    def __init__(self, transform: Callable, seed: int):
        self.transform = transform
        self.seed = seed
        self.turns = getattr(transform, 'turns', False)
        self.draw = self._draw if getattr(transform, 'draw', None) else None

    def __call__(self, image: Image.Image) -> Image.Image:
        with seeded(self.seed):
            return self.transform(image)

    def _draw(self) -> Any:
        with seeded(self.seed):
            return self.transform.draw()


@TRANSFORMS.register_module()
class RightAngle:
    """Turns an image by 0, 90, 180 or 270 degrees, with equal chance.

    Attributes:
        turns: It moves pixels only, so that it does not matter whether colours are changed before or after it.
    """
    turns = True

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.rotate(90 * random.randrange(4))
