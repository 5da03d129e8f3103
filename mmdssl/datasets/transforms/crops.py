"""Random crops that remember their box and flip."""
from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from mmdssl.datasets.transforms.masks import BlockMask
from mmdssl.datasets.transforms.photometric import Photometric
from mmdssl.datasets.views import ViewGroup
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CropViews:
    """One group of views of a decoded image: crop, resize to ``size`` x ``size``, flip, photometric; masks on top.

    Called with a PIL RGB image, it returns a :class:`ViewGroup` of one image: fields ``(num, ...)``, uint8 pixels.

    Args:
        size: Side of a view in pixels.
        scale: Range of the crop's share of the image's area, uniform; 0 < low <= high <= 1.
        num: Number of views; 1, or as many as ``photometric`` lists.
        ratio: Range of the crop's width over height, log-uniform.
        flip: Probability of a mirror image, left to right.
        photometric: Arguments of :class:`Photometric` (or of another transform of PIL images, named by ``type``); a
            list has one entry per view; None leaves the pixels alone.
        mask: Arguments of :class:`BlockMask` (or of another mask, named by ``type``); None does not mask the group.
        interpolation: Name of torchvision's interpolation mode; antialiased.

    Raises:
        InputError: The settings do not fit together.
    """

    def __init__(self, size: int, scale: tuple[float, float], num: int | None = None,
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), flip: float = .5,
                 photometric: Mapping | Sequence[Mapping | None] | None = None, mask: Mapping | None = None,
                 interpolation: str = 'bicubic'):
        if not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(f'views of size {size} have scale={tuple(scale)}: give shares of the area, '
                             '0 < low <= high <= 1')
        if photometric is None or isinstance(photometric, Mapping):
            photometric = [photometric] * (num or 1)
        if len(photometric) != (num or len(photometric)):
            raise InputError(f'views of size {size} have num={num} but {len(photometric)} photometric recipes: give '
                             'one recipe for all, or one per view')
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.flip = flip
        self.photometric = [_build(recipe, Photometric) for recipe in photometric]
        self.mask = _build(mask, BlockMask)
        self.interpolation = InterpolationMode(interpolation)
        if self.mask and size % self.mask.patch_size:
            raise InputError(f'views of size {size} cannot be masked in patches of {self.mask.patch_size} pixels: make '
                             'the size a multiple of the patch size')

    def __call__(self, image: Image.Image) -> ViewGroup:
        images, boxes, flips = zip(*(self._crop(image, photometric) for photometric in self.photometric))
        masks = torch.stack([self.mask(self.size) for _ in images]) if self.mask else None
        return ViewGroup(torch.stack(images), torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips), masks)

    def _crop(self, image: Image.Image, photometric: Callable | None) -> tuple[Tensor, tuple[int, int, int, int], bool]:
        top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        view = F.resized_crop(image, top, left, height, width, [self.size, self.size], self.interpolation)
        flip = random.random() < self.flip
        if flip:
            view = F.hflip(view)
        if photometric:
            view = photometric(view)
        return F.pil_to_tensor(view), (left, top, width, height), flip


def _build(recipe: Mapping | None, default: type) -> Callable | None:
    return None if recipe is None else TRANSFORMS.build({'type': default, **recipe})
