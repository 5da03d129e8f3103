from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as F

from mmdssl.datasets.transforms import Photometric, photometric
from mmdssl.datasets.transforms.photometric import (
    Drawn,
    adjust_on_device,
    adjust_with_opencv,
    adjust_with_pillow,
    blur_kernel,
    blur_reach,
)

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


@pytest.mark.parametrize('strength', [(.4, .4, .2, .1), (1.5, 0., .2, 0.), (0., .3, 0., .5), (0., 0., 0., 0.)])
def test_jitter_is_drawn_as_torchvision_draws_it(strength):
    theirs = ColorJitter(*strength)
    for seed in range(20):
        torch.manual_seed(seed)
        ours = Photometric(jitter=strength, jitter_prob=1.).draw().jitter
        torch.manual_seed(seed)
        order, *factors = theirs.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
        assert ours == [(kind, factors[kind]) for kind in order.tolist() if factors[kind] is not None]


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


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    """Soft structure and a little noise, ``(64, 72, 3)``."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.normal(128, 70, (8, 9, 3)).clip(0, 255).astype(np.uint8)).resize((72, 64), Image.Resampling.BICUBIC)
    return (np.asarray(coarse) + rng.normal(0, 8, (64, 72, 3))).clip(0, 255).astype(np.uint8)


def on_device(pixels: np.ndarray, *turns: Drawn) -> np.ndarray:
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return adjust_on_device(images, torch.tensor([[drawn.row() for drawn in turns]]))[0].permute(1, 2, 0).numpy()


MANY = [(2, .8), (0, 1.3), (3, .05), (1, .7)]


@pytest.mark.parametrize('drawn, largest, mean', [
    (Drawn([(0, 1.3)]), 0, 0), (Drawn([(0, .7)]), 0, 0), (Drawn([(1, 1.3)]), 0, 0), (Drawn([(1, .6)]), 0, 0),
    (Drawn([(2, 1.2)]), 1, .05), (Drawn([(2, 0.)]), 1, .05), (Drawn([(3, .09)]), 16, .8), (Drawn([(3, -.5)]), 16, .8),
    (Drawn(gray=True), 1, .01), (Drawn(blur=.3), 4, 1.), (Drawn(blur=.8), 4, 1.), (Drawn(blur=2.), 4, 1.), (Drawn(blur=6.), 16, 1.),
    (Drawn(solarize=100), 0, 0), (Drawn(solarize=0), 0, 0), (Drawn(MANY, blur=1.1), 8, 1.), (Drawn(), 0, 0),
])
def test_opencv_and_the_device_do_what_pillow_does(photo, drawn, largest, mean):
    """To rounding: Pillow rounds in each of the six passes of a blur, where it repeats the border too, and OpenCV has 8 bits of its own
    for hue and saturation."""
    ours, theirs = adjust_with_opencv(photo, drawn), np.asarray(adjust_with_pillow(Image.fromarray(photo), drawn))
    distance = np.abs(ours.astype(int) - theirs)
    assert distance.max() <= largest and distance.mean() <= mean
    again = np.abs(on_device(photo, drawn).astype(int) - ours)
    assert np.quantile(again, .99) <= 1 and again.mean() < .05


@pytest.mark.parametrize('sigma', [.1, .5, 1., 1.99, 2.01, 4.3])
def test_the_blur_is_pillows(sigma):
    """Its answer to a white line, and its variance: that of a Gaussian."""
    line = np.zeros((1, 61, 3), np.uint8)
    line[:, 30] = 255
    expected = np.asarray(Image.fromarray(line).filter(ImageFilter.GaussianBlur(sigma)))[0, :, 0]
    reach = blur_reach(sigma)
    places = np.arange(-reach, reach + 1)
    kernel = blur_kernel(sigma, places)
    np.testing.assert_allclose(255 * kernel, expected[30 - reach:31 + reach], atol=2)
    assert kernel.sum() == pytest.approx(1) and kernel @ places**2 == pytest.approx(sigma**2)


def test_a_batch_on_the_device_is_its_images_one_by_one(photo, monkeypatch):
    """Whatever was drawn for the others, in as many turns, and however much is done at once."""
    turns = [[Drawn(MANY, blur=2.), Drawn([(3, .1)])], [Drawn(), Drawn(gray=True, solarize=128)], [Drawn(MANY[::-1]), Drawn(blur=.2)]]
    images = torch.stack([torch.from_numpy(photo).permute(2, 0, 1).roll(5 * i, -1) for i in range(3)])
    rows = torch.tensor([[drawn.row() for drawn in some] for some in turns])
    together = adjust_on_device(images[:, None], rows[:, None])[:, 0]
    monkeypatch.setattr(photometric, 'CHUNK', 2 * 64 * 72)
    assert torch.equal(together, adjust_on_device(images, rows))
    for image, some, expected in zip(images, turns, together):
        alone = on_device(image.permute(1, 2, 0).numpy(), *some)
        assert torch.equal(torch.from_numpy(alone).permute(2, 0, 1), expected)
        assert np.array_equal(alone, on_device(on_device(image.permute(1, 2, 0).numpy(), some[0]), some[1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_does_what_the_cpu_does(photo):
    random.seed(0)
    recipe = Photometric(blur_prob=1., solarize_prob=.5)
    images = torch.from_numpy(photo).permute(2, 0, 1).repeat(16, 1, 1, 1)
    rows = torch.tensor([[recipe.draw().row()] for _ in range(16)])
    with torch.autocast('cuda', torch.bfloat16):
        distance = (adjust_on_device(images.cuda(), rows).cpu().int() - adjust_on_device(images, rows).int()).abs().float()
    assert distance.mean() < .05 and distance.quantile(.99) <= 1


def test_what_changes_pixels_in_its_own_way_is_not_drawn():
    class Negative(Photometric):
        def __call__(self, image):
            return ImageOps.invert(image)

    assert Photometric().draw and not Negative().draw
