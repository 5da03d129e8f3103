"""RandAugment, for fine-tuning."""
from __future__ import annotations

from typing import Literal

from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN
from timm.data.auto_augment import posterize, rand_augment_transform
from timm.data.transforms import str_to_pil_interp

from mmdssl.arguments import PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandAugment:
    """timm's RandAugment of a crop, PIL RGB to RGB, with the constants that timm's training gives it.

    What moves in from outside the image has ImageNet's mean colour, and shifts go up to 0.45 of a side.

    Args:
        size: Side of the crop in pixels.
        recipe: timm's text, ``rand-m9-mstd0.5-inc1`` in DeiT: two operations of magnitude 9 with a standard deviation of 0.5, of the set
            in which a larger magnitude is a stronger change.
        interpolation: Of rotations and shears.

    Raises:
        InputError: timm cannot read the recipe.
    """

    def __init__(self, size: PositiveInt = 224, recipe: str = 'rand-m9-mstd0.5-inc1',
                 interpolation: Literal['bicubic', 'bilinear'] = 'bicubic'):
        colour = tuple(round(255 * value) for value in IMAGENET_DEFAULT_MEAN)
        try:
            self.augment = rand_augment_transform(recipe, dict(translate_const=int(0.45 * size), img_mean=colour,
                                                               interpolation=str_to_pil_interp(interpolation)))
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            raise InputError(f'RandAugment has recipe={recipe!r}, which timm cannot read ({type(error).__name__}: {error}): give for '
                             "instance 'rand-m9-mstd0.5-inc1'") from None

        for operation in self.augment.ops:
            if operation.aug_fn is posterize:
                operation.aug_fn = _posterize

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.augment(image)


def _posterize(image: Image.Image, bits: int, **_) -> Image.Image:
    """timm's, whose strongest keeps no bit: nothing but black, to which newer versions of Pillow refuse to come."""
    return posterize(image, bits) if bits else Image.new(image.mode, image.size)
