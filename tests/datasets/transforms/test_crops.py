from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from mmdssl.datasets.base import seeded
from mmdssl.datasets.transforms import CropViews, Photometric
from mmdssl.errors import InputError


def ramp(width: int, height: int) -> Image.Image:
    """Red is proportional to x, green to y, both at pixel centres; blue is 0."""
    x = (np.arange(width) + .5) / width * 255
    y = (np.arange(height) + .5) / height * 255
    pixels = np.stack([np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width)),
                       np.zeros((height, width))], -1)
    return Image.fromarray(pixels.round().astype(np.uint8))


@pytest.mark.parametrize('width, height, scale', [
    (200, 150, (.05, .25)), (150, 200, (.25, 1.)), (211, 97, (.14, 1.)),
    (600, 40, (.9, 1.)), (40, 600, (.9, 1.)),  # too elongated for any crop of that area: torchvision's fallback
])
def test_boxes_say_where_pixels_come_from(width, height, scale):
    with seeded(0):
        views = CropViews(32, scale, num=24)(ramp(width, height))
    assert views.images.shape == (24, 3, 32, 32) and views.images.dtype == torch.uint8
    assert views.boxes.shape == (24, 4) and views.boxes.dtype == torch.float32
    assert views.flips.dtype == torch.bool and 0 < views.flips.sum() < 24 and views.masks is None
    for image, (x, y, w, h), flip in zip(views.images.float(), views.boxes, views.flips):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        image = image.flip(-1) if flip else image
        centres = (torch.arange(32) + .5) / 32
        inner = slice(3, -3)  # at the borders the resampling filter is cut off
        torch.testing.assert_close(image[0, inner, inner] * width / 255, (x + centres * w)[inner].expand(26, 26),
                                   atol=.01 * width, rtol=0)
        torch.testing.assert_close(image[1, inner, inner] * height / 255, (y + centres * h)[inner, None].expand(26, 26),
                                   atol=.01 * height, rtol=0)


def test_fallback_box_is_the_centre_crop():
    with seeded(0):
        views = CropViews(16, (.9, 1.), num=3)(ramp(600, 40))
    assert views.boxes.tolist() == [[(600 - 53) // 2, 0, 53, 40]] * 3  # 53 = round(40 * 4 / 3)


def test_crop_is_torchvisions():
    """Same pixels and same distribution of boxes as RandomResizedCrop; antialiased bicubic."""
    image = ramp(120, 90)
    with seeded(1):
        ours = CropViews(24, (.14, 1.), flip=0.)(image)
    with seeded(1):
        theirs = RandomResizedCrop(24, (.14, 1.), interpolation=F.InterpolationMode.BICUBIC)(image)
    assert torch.equal(ours.images[0], F.pil_to_tensor(theirs))


def test_photometric_comes_after_the_flip_one_recipe_per_view():
    class Record:
        def __call__(self, image):
            seen.append(F.pil_to_tensor(image))
            return Image.new('RGB', image.size)

    seen = []
    crop = CropViews(16, (.5, 1.), photometric=[dict(type=Record), None, dict(type=Record)], flip=1.)
    views = crop(ramp(40, 40))
    assert len(seen) == 2 and len(views.images) == 3
    assert all(image[0, 0, 0] > image[0, 0, -1] for image in seen)  # mirrored already
    assert not views.images[[0, 2]].any() and views.images[1].any()
    assert CropViews(16, (.5, 1.), num=2, photometric=dict(blur_prob=1.)).photometric[1].blur_prob == 1.
    assert isinstance(CropViews(16, (.5, 1.), photometric=dict()).photometric[0], Photometric)


def test_masks_are_drawn_for_each_view():
    with seeded(0):
        views = CropViews(64, (.5, 1.), num=6, mask=dict(patch_size=8, ratio=.3))(ramp(50, 50))
    assert views.masks.shape == (6, 8, 8) and views.masks.dtype == torch.bool
    assert len({tuple(mask.flatten().tolist()) for mask in views.masks}) == 6
    exact = CropViews(64, (.5, 1.), num=2, mask=dict(type='mmdssl.RandomMask', patch_size=16, ratio=.5))(ramp(50, 50))
    assert exact.masks.flatten(1).sum(1).tolist() == [8, 8]


@pytest.mark.parametrize('arguments, message', [
    (dict(size=100, mask=dict(patch_size=16)), 'multiple of the patch size'),
    (dict(size=96, num=3, photometric=[{}, {}]), 'num=3 but 2 photometric'),
    (dict(size=96, scale=(.5, .2)), r'scale=\(0.5, 0.2\)'),
    (dict(size=96, scale=(0, 1)), 'scale='),
])
def test_settings_that_do_not_fit_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        CropViews(**{'scale': (.2, 1.), **arguments})
