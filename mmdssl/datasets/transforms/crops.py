"""Random crops that remember their box and flip."""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from mmdssl.arguments import Positive, PositiveInt, Share
from mmdssl.datasets.transforms.masks import BlockMask
from mmdssl.datasets.transforms.photometric import Photometric
from mmdssl.datasets.views import ViewGroup
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

Box = Sequence[float]
FULL_BOX = (0., 0., 1., 1.)
TRIES = 10


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
        box_alpha: Take crops from the box where the object is, see :func:`crop_in_box`, once
            :class:`mmdssl.engine.hooks.ContrastiveCropHook` has found it; the paper has 0.6. None takes them from
            anywhere.
        before: Config of a transform of the whole image that is done for each view by itself, before its crop, such as
            :class:`mmdssl.datasets.transforms.SwapBackground`.

    Raises:
        InputError: The settings do not fit together.
    """

    def __init__(self, size: PositiveInt, scale: tuple[Share, Share], num: PositiveInt | None = None,
                 ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3), flip: Share = .5,
                 photometric: Mapping | Sequence[Mapping | None] | None = None, mask: Mapping | None = None,
                 interpolation: Literal[tuple(mode.value for mode in InterpolationMode)] = 'bicubic',
                 box_alpha: Positive | None = None, before: Mapping | None = None):
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
        self.box_alpha = box_alpha
        self.before = None if before is None else TRANSFORMS.build(before)
        if self.mask and size % self.mask.patch_size:
            raise InputError(f'views of size {size} cannot be masked in patches of {self.mask.patch_size} pixels: make '
                             'the size a multiple of the patch size')

    def __call__(self, image: Image.Image, box: Box | None = None) -> ViewGroup:
        """
        Args:
            image: The decoded image.
            box: Where its object is, as for :func:`crop_in_box`; needs ``box_alpha``. None where that is not known.
        """
        images, boxes, flips = zip(*(self._crop(image, box, photometric) for photometric in self.recipes()))
        masks = torch.stack([self.mask(self.size) for _ in images]) if self.mask else None
        return ViewGroup(torch.stack(images), torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips), masks)

    def recipes(self) -> Sequence[Callable | None]:
        """What is done to the pixels of each view."""
        return self.photometric

    def _crop(self, image: Image.Image, box: Box | None,
              photometric: Callable | None) -> tuple[Tensor, tuple[int, int, int, int], bool]:
        if self.before:
            image = self.before(image)
        elif image.mode != 'RGB':  # it has a saliency mask, for other views
            image = image.convert('RGB')
        if box is None:
            top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        else:
            top, left, height, width = crop_in_box(image, box, self.scale, self.ratio, self.box_alpha)
        view = F.resized_crop(image, top, left, height, width, [self.size, self.size], self.interpolation)
        flip = random.random() < self.flip
        if flip:
            view = F.hflip(view)
        if photometric:
            view = photometric(view)
        return F.pil_to_tensor(view), (left, top, width, height), flip


def crop_in_box(image: Image.Image, box: Box, scale: tuple[float, float], ratio: tuple[float, float],
                alpha: float) -> tuple[int, int, int, int]:
    """A random crop that follows the object (ContrastiveCrop, CVPR 2022).

    Its area and shape are drawn as by torchvision's RandomResizedCrop. Its centre lies between the borders of the box,
    as Beta(alpha, alpha) says, unless it has to move to stay in the image: 1 is uniform, less prefers the borders, so
    that two crops of an image have less in common.

    Args:
        image: Only its size counts.
        box: ``(h0, w0, h1, w1)`` in [0, 1], shares of the height and of the width.
        scale: Range of the crop's share of the image's area.
        ratio: Range of the crop's width over height.
        alpha: Of the Beta distribution.

    Returns:
        Top, left, height and width in pixels, always within the image; after ten crops too large for it torchvision's
        centre crop, wherever the box is.
    """
    for _ in range(TRIES):
        area = image.width * image.height * random.uniform(*scale)
        aspect = math.exp(random.uniform(*map(math.log, ratio)))
        height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < height <= image.height and 0 < width <= image.width:
            return (_place(image.height, height, box[0], box[2], alpha),
                    _place(image.width, width, box[1], box[3], alpha), height, width)
    return RandomResizedCrop.get_params(image, (4., 4.), ratio)  # which nothing fits


def _place(side: int, length: int, low: float, high: float, alpha: float) -> int:
    """Where a crop of ``length`` begins on a side of the image whose box reaches from ``low`` to ``high``."""
    first, last = (min(max(int(side * border) - length // 2, 0), side - length) for border in (low, high))
    return first + int((last - first) * random.betavariate(alpha, alpha))


def _build(recipe: Mapping | None, default: type) -> Callable | None:
    return None if recipe is None else TRANSFORMS.build({'type': default, **recipe})
