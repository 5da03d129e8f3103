"""Photometric augmentation."""
from __future__ import annotations

import random
from typing import Annotated

from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import ColorJitter

from mmdssl.arguments import NonNegative, NonNegativeInt, Range, Share
from mmdssl.registry import TRANSFORMS

Hue = Annotated[float, Range('from 0 to 0.5', lambda value: 0 <= value <= 0.5)]


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
        self.jitter = ColorJitter(*jitter)
        self.jitter_prob = jitter_prob
        self.gray_prob = gray_prob
        self.blur_prob = blur_prob
        self.blur_radius = blur_radius
        self.solarize_prob = solarize_prob
        self.solarize_threshold = solarize_threshold

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() < self.jitter_prob:
            image = self.jitter(image)
        if random.random() < self.gray_prob:
            image = ImageOps.grayscale(image).convert('RGB')
        if random.random() < self.blur_prob:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(*self.blur_radius)))
        if random.random() < self.solarize_prob:
            image = ImageOps.solarize(image, self.solarize_threshold)
        return image
