"""Views that share one family of augmentations with a query, LooC (https://arxiv.org/abs/2008.05659)."""
from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

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

    def recipes(self) -> Sequence[Callable]:
        number = len(self.families)
        seeds = [[random.getrandbits(32) for _ in range(number)] for _ in range(number + 2)]
        for i in range(number):
            seeds[i + 2][i] = seeds[0][i]
        return [partial(self._augment, seeds=drawn) for drawn in seeds]

    def _augment(self, image: Image.Image, seeds: Sequence[int]) -> Image.Image:
        for family, seed in zip(self.families.values(), seeds):
            with seeded(seed):
                image = family(image)
        return image


@TRANSFORMS.register_module()
class RightAngle:
    """Turns an image by 0, 90, 180 or 270 degrees, with equal chance."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.rotate(90 * random.randrange(4))
