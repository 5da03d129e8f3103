from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as F

from mmdssl.datasets.transforms import Photometric

OFF = dict(jitter_prob=0., gray_prob=0., blur_prob=0., solarize_prob=0.)


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def test_each_operation_is_the_librarys(image):
    def single(**arguments):
        return Photometric(**{**OFF, **arguments})(image)

    assert single() == image
    assert single(gray_prob=1.) == F.rgb_to_grayscale(image, 3)
    assert single(blur_prob=1., blur_radius=(1.5, 1.5)) == image.filter(ImageFilter.GaussianBlur(1.5))
    assert single(solarize_prob=1., solarize_threshold=100) == ImageOps.solarize(image, 100)
    torch.manual_seed(3)
    ours = single(jitter_prob=1.)
    torch.manual_seed(3)
    assert ours == ColorJitter(.4, .4, .2, .1)(image) != image


def test_order_is_dinos(image):
    """All operations at once equal the composition jitter, gray, blur, solarise, and no other order of neighbours."""
    torch.manual_seed(3)
    ours = Photometric(jitter_prob=1., gray_prob=1., blur_prob=1., blur_radius=(1., 1.), solarize_prob=1.)(image)
    torch.manual_seed(3)
    jittered = ColorJitter(.4, .4, .2, .1)(image)
    blur = ImageFilter.GaussianBlur(1.)
    assert ours == ImageOps.solarize(F.rgb_to_grayscale(jittered, 3).filter(blur))
    assert ours != ImageOps.solarize(F.rgb_to_grayscale(jittered, 3)).filter(blur)
    torch.manual_seed(3)
    assert ours != ImageOps.solarize(ColorJitter(.4, .4, .2, .1)(F.rgb_to_grayscale(image, 3)).filter(blur))


@pytest.mark.parametrize('name, default', [('jitter_prob', .8), ('gray_prob', .2), ('blur_prob', .5),
                                           ('solarize_prob', 0.)])
def test_default_probabilities(image, name, default):
    transform = Photometric(**{key: value for key, value in OFF.items() if key != name})
    random.seed(0)
    changed = np.mean([transform(image) != image for _ in range(600)])
    assert changed == pytest.approx(default, abs=.05)


def test_blur_radius_is_uniform_in_its_range(image, monkeypatch):
    radii = []
    monkeypatch.setattr(ImageFilter, 'GaussianBlur', lambda radius: radii.append(radius) or ImageFilter.BLUR)
    random.seed(0)
    for _ in range(2000):
        Photometric(**{**OFF, 'blur_prob': 1.})(image)
    assert .1 <= min(radii) < .11 and 1.99 < max(radii) <= 2
    assert np.mean(radii) == pytest.approx(1.05, abs=.05)
