"""Random crops that remember their box and flip."""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from mmdssl.arguments import Positive, PositiveInt, Share
from mmdssl.datasets.images import full_size, pixels_of
from mmdssl.datasets.transforms.masks import BlockMask
from mmdssl.datasets.transforms.photometric import UNCHANGED, Photometric, adjust_with_opencv
from mmdssl.datasets.views import ViewGroup
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

Box = Sequence[float]
FULL_BOX = (0., 0., 1., 1.)
TRIES = 10
BACKENDS = ('pillow', 'fast')
INTERPOLATIONS = ('nearest', 'nearest-exact', 'bilinear', 'bicubic', 'box', 'hamming', 'lanczos')  # as torchvision calls them
NATIVE = ('bilinear', 'bicubic')  # that PyTorch has for 8 bits


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

    Attributes:
        backend: ``'pillow'``, the operations of the authors' recipes, bit by bit; ``'fast'``, those of PyTorch (resize) and OpenCV
            (:class:`Photometric`), which are equal to rounding but for the finest levels of a hue. What is drawn is the same.
        photometric_device: Leave :class:`Photometric` to the data preprocessor, and hand it what was drawn. Other photometric
            transforms, and what comes before them, are done here all the same.

    Raises:
        InputError: The settings do not fit together.
    """
    backend: Literal[BACKENDS] = 'pillow'
    photometric_device = False

    def __init__(self, size: PositiveInt, scale: tuple[Share, Share], num: PositiveInt | None = None,
                 ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3), flip: Share = .5,
                 photometric: Mapping | Sequence[Mapping | None] | None = None, mask: Mapping | None = None,
                 interpolation: Literal[INTERPOLATIONS] = 'bicubic',
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
        self.interpolation = interpolation
        self._filter = Image.Resampling[interpolation.removesuffix('-exact').upper()]
        self.box_alpha = box_alpha
        self.before = None if before is None else TRANSFORMS.build(before)
        if self.mask and size % self.mask.patch_size:
            raise InputError(f'views of size {size} cannot be masked in patches of {self.mask.patch_size} pixels: make '
                             'the size a multiple of the patch size')

    def __call__(self, image: Image.Image, box: Box | None = None) -> ViewGroup:
        """
        Args:
            image: The decoded image; where it was decoded smaller than it is, boxes still are in pixels of its file.
            box: Where its object is, as for :func:`crop_in_box`; needs ``box_alpha``. None where that is not known.
        """
        image = image if image.mode == 'RGB' or self.before else image.convert('RGB')  # it has a saliency mask, for other views
        pixels = None if self.before else self._native(image)
        images, boxes, flips, rows = zip(*(self._view(image, pixels, box, steps) for steps in self.recipes()))
        masks = torch.stack([self.mask(self.size) for _ in images]) if self.mask else None
        longest = max(map(len, rows))
        rows = torch.tensor([[*some, *[UNCHANGED] * (longest - len(some))] for some in rows]) if longest else None
        return ViewGroup(_planes(images), torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips), masks, photometric=rows)

    def recipes(self) -> Sequence[Sequence[Callable]]:
        """The transforms of each view, of PIL images. One with a method ``draw`` can be drawn first and done elsewhere."""
        return [[photometric] if photometric else [] for photometric in self.photometric]

    def spare(self, width: int, height: int) -> float:
        """How many times smaller an image may be decoded so that no crop has fewer pixels than its view, if it has as many now."""
        area = width * height * self.scale[0]
        low, high = self.ratio
        fallback = width, height, width / low, height * high  # where nothing that is drawn fits
        return int(min(*fallback, math.sqrt(area * low), math.sqrt(area / high))) / self.size

    def _native(self, image: Image.Image) -> np.ndarray | None:
        """The levels that PyTorch makes crops from, if it does."""
        native = self.backend == 'fast' and self.interpolation in NATIVE and full_size(image) == image.size
        return pixels_of(image) if native else None

    def _view(self, image: Image.Image, pixels: np.ndarray | None, box: Box | None,
              steps: Sequence[Callable]) -> tuple[np.ndarray, tuple[int, int, int, int], bool, list[list[float]]]:
        if self.before:
            image = self.before(image)
            pixels = self._native(image)
        width, height = full_size(image)
        if box is None:
            top, left, h, w = crop_anywhere((width, height), self.scale, self.ratio)
        else:
            top, left, h, w = crop_in_box((width, height), box, self.scale, self.ratio, self.box_alpha)
        flip = random.random() < self.flip
        view = self._resized_crop(image if pixels is None else pixels, left, top, w, h, 2**round(math.log2(width / image.width)))
        if flip:
            view = cv2.flip(view, 1) if isinstance(view, np.ndarray) else view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        view, rows = self._change(view, steps)
        return np.asarray(view), (left, top, w, h), flip, rows

    def _resized_crop(self, image: Image.Image | np.ndarray, left: int, top: int, width: int, height: int,
                      shrunk: int) -> Image.Image | np.ndarray:
        """The crop as the backend has it, of an image that is smaller by a factor than what the box is of."""
        if isinstance(image, np.ndarray):
            crop = torch.from_numpy(image[:, top:top + height, left:left + width].transpose(0, 3, 1, 2))
            view = interpolate(crop, (self.size, self.size), mode=self.interpolation, antialias=True)
            return cv2.cvtColor(view.permute(0, 2, 3, 1).numpy()[0], cv2.COLOR_RGBA2RGB)
        if shrunk > 1:
            x, y = left // shrunk, top // shrunk
            part = image.crop((x, y, -(-(left + width) // shrunk), -(-(top + height) // shrunk)))
            edges = left / shrunk - x, top / shrunk - y, (left + width) / shrunk - x, (top + height) / shrunk - y
            view = part.resize((self.size, self.size), self._filter, edges)
        else:
            view = image.crop((left, top, left + width, top + height)).resize((self.size, self.size), self._filter)
        return np.array(view) if self.backend == 'fast' else view

    def _change(self, view: Image.Image | np.ndarray, steps: Sequence[Callable]) -> tuple[Image.Image | np.ndarray, list[list[float]]]:
        """The view after its transforms, and what is left to the device of them."""
        drawn = [getattr(step, 'draw', None) for step in steps]
        bound = [not draw and not getattr(step, 'turns', False) for draw, step in zip(drawn, steps)]
        here = len(steps) - bound[::-1].index(True) if True in bound else 0  # a step that is bound to be done here binds those before it
        if not self.photometric_device:
            here = len(steps)
        rows = []
        for position, (step, draw) in enumerate(zip(steps, drawn)):
            if draw and position >= here:
                rows.append(draw().row())
            elif draw and isinstance(view, np.ndarray):
                view = adjust_with_opencv(view, draw())
            elif isinstance(view, np.ndarray):
                view = np.array(step(Image.fromarray(view)))
            else:
                view = step(view)
        return view, rows


def crop_anywhere(size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """A random crop, draw by draw that of torchvision's ``RandomResizedCrop``.

    Processes that load data need not import torchvision for it, which takes 90 MB in each.

    Args:
        size: Width and height of the image.
        scale: Range of the crop's share of the image's area.
        ratio: Range of the crop's width over height.

    Returns:
        Top, left, height and width in pixels; after ten crops too large for the image the centre of it.
    """
    image_width, image_height = size
    low, high = _logarithms(*ratio)
    for _ in range(TRIES):
        area = image_width * image_height * torch.empty(1).uniform_(*scale).item()
        aspect = torch.empty(1).uniform_(low, high).exp_().item()
        height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < height <= image_height and 0 < width <= image_width:
            return (torch.randint(image_height - height + 1, (1, )).item(), torch.randint(image_width - width + 1, (1, )).item(),
                    height, width)
    aspect = min(max(image_width / image_height, min(ratio)), max(ratio))
    height, width = min(image_height, round(image_width / aspect)), min(image_width, round(image_height * aspect))
    return (image_height - height) // 2, (image_width - width) // 2, height, width


@cache
def _logarithms(*numbers: float) -> list[float]:
    return torch.tensor(numbers).log_().tolist()


def crop_in_box(size: tuple[int, int], box: Box, scale: tuple[float, float], ratio: tuple[float, float],
                alpha: float) -> tuple[int, int, int, int]:
    """A random crop that follows the object (ContrastiveCrop, CVPR 2022).

    Its area and shape are drawn as by torchvision's RandomResizedCrop. Its centre lies between the borders of the box,
    as Beta(alpha, alpha) says, unless it has to move to stay in the image: 1 is uniform, less prefers the borders, so
    that two crops of an image have less in common.

    Args:
        size: Width and height of the image.
        box: ``(h0, w0, h1, w1)`` in [0, 1], shares of the height and of the width.
        scale: Range of the crop's share of the image's area.
        ratio: Range of the crop's width over height.
        alpha: Of the Beta distribution.

    Returns:
        Top, left, height and width in pixels, always within the image; after ten crops too large for it torchvision's
        centre crop, wherever the box is.
    """
    image_width, image_height = size
    for _ in range(TRIES):
        area = image_width * image_height * random.uniform(*scale)
        aspect = math.exp(random.uniform(*map(math.log, ratio)))
        height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < height <= image_height and 0 < width <= image_width:
            return (_place(image_height, height, box[0], box[2], alpha),
                    _place(image_width, width, box[1], box[3], alpha), height, width)
    return crop_anywhere(size, (4., 4.), ratio)  # which nothing fits


def _planes(views: Sequence[np.ndarray]) -> Tensor:
    """``(V, 3, H, W)`` of V images ``(H, W, 3)``."""
    stacked = torch.empty(len(views), 3, *views[0].shape[:2], dtype=torch.uint8)
    for view, planes in zip(views, stacked.numpy()):
        for channel, plane in enumerate(planes):
            cv2.extractChannel(view, channel, plane)
    return stacked


def _place(side: int, length: int, low: float, high: float, alpha: float) -> int:
    """Where a crop of ``length`` begins on a side of the image whose box reaches from ``low`` to ``high``."""
    first, last = (min(max(int(side * border) - length // 2, 0), side - length) for border in (low, high))
    return first + int((last - first) * random.betavariate(alpha, alpha))


def _build(recipe: Mapping | None, default: type) -> Callable | None:
    return None if recipe is None else TRANSFORMS.build({'type': default, **recipe})
