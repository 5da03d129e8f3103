"""Photometric augmentation: what is drawn for a crop, and how pixels follow it with Pillow, with OpenCV or on the device."""
from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn.functional import pad

from mmdssl.arguments import NonNegative, NonNegativeInt, Range, Share
from mmdssl.registry import TRANSFORMS

Hue = Annotated[float, Range('from 0 to 0.5', lambda value: 0 <= value <= 0.5)]
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision's ColorJitter numbers them
LEVELS = np.arange(256, dtype=np.float32)
NO_BLEND = (BRIGHTNESS, 1.)
LUMA = (19595, 38470, 7471)  # of 65536, Pillow's shares of red, green and blue in a level of gray
BLUR = 14  # its column in a row of numbers
CHUNK = 2**23  # pixels that are changed on the device at once, which bounds its memory


class Drawn(NamedTuple):
    """What is done to the colours of one crop, in this order.

    Attributes:
        jitter: Kinds of colour jitter and their factors, in the order in which they are applied.
        gray: Whether colours go.
        blur: Standard deviation in pixels; 0 for none.
        solarize: Levels from this one on are inverted; 256 for none.
    """
    jitter: Sequence[tuple[int, float]] = ()
    gray: bool = False
    blur: float = 0.
    solarize: int = 256

    def row(self) -> list[float]:
        """The same as numbers, for :func:`adjust_on_device`: three blends, a shift of the hue, three blends, and the rest."""
        kinds = [kind for kind, _ in self.jitter]
        turn = kinds.index(HUE) if HUE in kinds else len(kinds)
        before, after = self.jitter[:turn], self.jitter[turn + 1:]
        blends = [[*part, *[NO_BLEND] * (3 - len(part))] for part in (before, after)]
        shift = hue_steps(self.jitter[turn][1]) if HUE in kinds else 0
        flat = [[number for blend in part for number in blend] for part in blends]
        return [*flat[0], shift, *flat[1], self.gray, self.blur, self.solarize]


UNCHANGED = Drawn().row()


@TRANSFORMS.register_module()
class Photometric:
    """DINO's photometric recipe, in its order: colour jitter, grayscale, Gaussian blur, solarisation; PIL RGB to RGB.

    DINO (https://arxiv.org/abs/2104.14294) uses ``blur_prob=1.`` for the first global view, ``blur_prob=.1,
    solarize_prob=.2`` for the second, and the defaults for local views.

    Args:
        jitter: Strength of brightness, contrast, saturation and hue, which are applied in random order.
        jitter_prob: Probability of colour jitter.
        gray_prob: Probability of grayscale.
        blur_prob: Probability of blur.
        blur_radius: Range of the blur's standard deviation in pixels of the crop, uniform.
        solarize_prob: Probability of solarisation.
        solarize_threshold: Levels from this one on, of 0..255, are inverted.
    """

    def __init__(self, jitter: tuple[NonNegative, NonNegative, NonNegative, Hue] = (.4, .4, .2, .1), jitter_prob: Share = .8,
                 gray_prob: Share = .2, blur_prob: Share = .5, blur_radius: tuple[NonNegative, NonNegative] = (.1, 2.),
                 solarize_prob: Share = 0., solarize_threshold: NonNegativeInt = 128):
        *blends, hue = jitter
        self.factors = [(max(0., 1 - strength), 1 + strength) for strength in blends] + [(-hue, hue)]  # ranges
        self.jitter_prob = jitter_prob
        self.gray_prob = gray_prob
        self.blur_prob = blur_prob
        self.blur_radius = blur_radius
        self.solarize_prob = solarize_prob
        self.solarize_threshold = solarize_threshold

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if '__call__' in vars(cls) and 'draw' not in vars(cls):
            cls.draw = None  # what it does to pixels cannot be drawn beforehand

    def draw(self) -> Drawn:
        """What is done to the next crop."""
        jitter = []
        if random.random() < self.jitter_prob:
            order = torch.randperm(4).tolist()  # draw by draw as torchvision's ColorJitter
            drawn = {kind: torch.empty(1).uniform_(*ends).item() for kind, ends in enumerate(self.factors) if ends[0] < ends[1]}
            jitter = [(kind, drawn[kind]) for kind in order if kind in drawn]
        gray = random.random() < self.gray_prob
        blur = random.uniform(*self.blur_radius) if random.random() < self.blur_prob else 0.
        solarize = self.solarize_threshold if random.random() < self.solarize_prob else 256
        return Drawn(jitter, gray, blur, solarize)

    def __call__(self, image: Image.Image) -> Image.Image:
        return adjust_with_pillow(image, self.draw())


def adjust_with_pillow(image: Image.Image, drawn: Drawn) -> Image.Image:
    """Pillow's operations, as in the authors' recipes."""
    from torchvision.transforms import functional as F  # which takes 90 MB: not in processes that do without
    adjust = F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue
    for kind, factor in drawn.jitter:
        image = adjust[kind](image, factor)
    if drawn.gray:
        image = ImageOps.grayscale(image).convert('RGB')
    if drawn.blur:
        image = image.filter(ImageFilter.GaussianBlur(drawn.blur))
    return ImageOps.solarize(image, drawn.solarize) if drawn.solarize < 256 else image


def adjust_with_opencv(pixels: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Pillow's operations with OpenCV, ``(H, W, 3)`` uint8 RGB to the same.

    Jitter but for the hue, gray and solarisation are equal to a level; a blur has Pillow's filter, rounds less, and differs by some
    levels near the border, whose pixels Pillow repeats in each of its passes; a hue has OpenCV's 8 bits for hue and saturation.
    """
    for kind, factor in drawn.jitter:
        if kind == HUE:
            pixels = _shift_hue(pixels, hue_steps(factor)) if hue_steps(factor) else pixels
        elif kind == SATURATION:
            # what is subtracted makes of OpenCV's rounding Pillow's, which is towards zero
            pixels = cv2.addWeighted(pixels, factor, _gray(pixels), 1 - factor, -.499)
        else:
            base = int(cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0] + .5) if kind == CONTRAST else 0
            blended = base + np.float32(factor) * (LEVELS - base)
            pixels = cv2.LUT(pixels, np.minimum(np.maximum(blended, 0), 255).astype(np.uint8))
    if drawn.gray:
        pixels = _gray(pixels)
    if drawn.blur:
        reach = blur_reach(drawn.blur)
        kernel = blur_kernel(drawn.blur, np.arange(-reach, reach + 1))
        kernel = ((kernel + kernel[::-1]) / 2).astype(np.float32)  # to the last bit, for which OpenCV is three times as fast
        pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    if drawn.solarize < 256:
        pixels = cv2.LUT(pixels, np.where(drawn.solarize > LEVELS, LEVELS, 255 - LEVELS).astype(np.uint8))
    return pixels


def adjust_on_device(images: Tensor, rows: Tensor) -> Tensor:
    """What :func:`adjust_with_opencv` does, for a batch on any device, without waiting for it.

    Args:
        images: ``(..., 3, H, W)`` uint8 RGB.
        rows: ``(..., K, 16)``, for each image K times what was :class:`Drawn`; on the CPU, where reading them waits for nothing.

    Returns:
        ``(..., 3, H, W)`` uint8, equal to OpenCV's to rounding.
    """
    shape, step = images.shape, max(1, CHUNK // (images.shape[-1] * images.shape[-2]))
    rows, images = rows.flatten(0, -3), images.flatten(0, -4)
    reaches = [blur_reach(sigma) for sigma in rows[..., BLUR].amax(0).tolist()]
    for reach, numbers in zip(reaches, rows.to(images.device, non_blocking=True)[..., None, None, None].unbind(1)):
        images = torch.cat([_adjust(*chunk, reach) for chunk in zip(images.split(step), numbers.split(step))])
    return images.view(shape)


def _adjust(images: Tensor, numbers: Tensor, reach: int) -> Tensor:
    pixels = images.float()
    *jitter, gray, blur, solarize = numbers.unbind(1)
    before, shift, after = jitter[:6], jitter[6], jitter[7:]
    for kind, factor in zip(before[::2], before[1::2]):
        pixels = _blend(pixels, kind, factor)
    pixels = torch.where(shift == 0, pixels, _shift_hues(pixels, shift))
    for kind, factor in zip(after[::2], after[1::2]):
        pixels = _blend(pixels, kind, factor)
    pixels = torch.where(gray > 0, _grays(pixels), pixels)
    if reach:
        pixels = _blur(pixels, blur, reach)
    return torch.where(pixels < solarize, pixels, 255 - pixels).to(torch.uint8)


def _blend(pixels: Tensor, kind: Tensor, factor: Tensor) -> Tensor:
    """An image mixed with black, its mean gray or its gray levels: brightness, contrast, saturation."""
    gray = _grays(pixels)
    mean = (gray.to(torch.int32).sum((1, 2, 3), keepdim=True) / gray[0].numel() + .5).floor()
    base = torch.where(kind == SATURATION, gray, torch.where(kind == CONTRAST, mean, 0.))
    return torch.addcmul(base, factor, pixels - base).clamp_(0, 255).floor_()


def _grays(pixels: Tensor) -> Tensor:
    """``(N, 1, H, W)`` levels of gray; the sums are whole numbers below 2**24, which float32 holds."""
    red, green, blue = pixels.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).add_(2**15).div_(2**16).floor_()


def _gray(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def hue_steps(factor: float) -> int:
    """A shift of the hue in steps of 8 bits, as torchvision counts them for Pillow."""
    return int(factor * 255) % 255


def _shift_hue(pixels: np.ndarray, steps: int) -> np.ndarray:
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    shifted = np.rint(LEVELS * (255 / 256) + steps) % 255  # OpenCV's circle has 256 steps from RGB, and 255 to RGB
    hsv = cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), shifted.astype(np.uint8)), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _shift_hues(pixels: Tensor, steps: Tensor) -> Tensor:
    """As OpenCV does it, with 8 bits for hue and saturation."""
    red, green, blue = pixels.split(1, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    sixths = torch.where(value == red, green - blue,
                         torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma))
    hue = (sixths * (256 / 6) / chroma.clamp(min=1)).round_().remainder_(256)
    hue = (hue * (255 / 256) + steps).round_() * (6 / 255)
    chroma = (chroma * 255 / value.clamp(min=1)).round_() * value / 255
    places = [(hue + offset).remainder_(6) for offset in (5, 3, 1)]
    return torch.cat([value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1) for place in places], 1).round_()


def blur_reach(sigma: float) -> int:
    """Pixels to either side that count in a blur."""
    return 3 * (int(_box_radius(sigma)) + 1) if sigma else 0


def blur_kernel(sigma, places):
    """Weights of the filter that Pillow takes for a Gaussian: three boxes in a row, whose outermost pixels count by a fraction.

    Args:
        sigma: Standard deviation, a number or ``(N, 1, 1, 1)``.
        places: ``-reach ... reach``, an array or a tensor.
    """
    radius, third = _box_radius(sigma), len(places) // 3
    inner = places[third:-third]

    def box(place):
        return (radius + 1 - abs(place)).clip(0, 1) / (2 * radius + 1)

    return (box(inner[:, None]) * box(inner) * box(places[:, None, None] - inner[:, None] - inner)).sum((-2, -1))


def _box_radius(sigma):
    """Of three boxes whose variances add up to that of a Gaussian; it need not be whole."""
    variance = sigma * sigma / 3
    whole = ((12 * variance + 1)**.5 - 1) / 2 // 1
    return whole + (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1)**2))


def _blur(pixels: Tensor, sigma: Tensor, reach: int) -> Tensor:
    weights = blur_kernel(sigma, torch.arange(-reach, reach + 1, device=pixels.device))[..., None, None, None].unbind(1)
    for dim, margins in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        size, wide = pixels.shape[dim], pad(pixels, margins, mode='replicate')
        pixels = torch.zeros_like(pixels)
        for place, weight in enumerate(weights):
            pixels.addcmul_(wide.narrow(dim, place, size), weight)
    return pixels.round_()
