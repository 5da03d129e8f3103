from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from mmdssl.datasets.base import seeded
from mmdssl.datasets.preprocessor import adjusted
from mmdssl.datasets.transforms import CropViews, Photometric
from mmdssl.datasets.transforms.crops import FULL_BOX, INTERPOLATIONS, crop_anywhere, crop_in_box
from mmdssl.datasets.views import ViewGroup, Views
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


@pytest.mark.parametrize('size', [(500, 375), (31, 400), (600, 40), (97, 601), (3, 2)])
def test_boxes_are_drawn_as_torchvision_draws_them(size):
    """Also where nothing fits; and what is drawn next is the same."""
    for seed, (scale, ratio) in product(range(40), [((.25, 1.), (3 / 4, 4 / 3)), ((.05, .25), (.2, 3.)), ((4., 4.), (.5, 2.))]):
        with seeded(seed):
            ours = *crop_anywhere(size, scale, ratio), torch.rand(1)
        with seeded(seed):
            theirs = *RandomResizedCrop.get_params(torch.empty(1, *size[::-1]), scale, ratio), torch.rand(1)
        assert ours == theirs
    assert list(INTERPOLATIONS) == [mode.value for mode in F.InterpolationMode]


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
    (dict(size=96, box_alpha=0), 'box_alpha=0'),
])
def test_settings_that_do_not_fit_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        CropViews(**{'scale': (.2, 1.), **arguments})


def crops_in_box(image: Image.Image, box, scale=(.05, 1.), ratio=(3 / 4, 4 / 3), alpha=.6, number=300) -> np.ndarray:
    """``(number, 4)`` top, left, height, width."""
    with seeded(0):
        return np.array([crop_in_box(image.size, box, scale, ratio, alpha) for _ in range(number)])


@pytest.mark.parametrize('size', [(200, 150), (31, 400), (600, 40), (3, 2), (1, 1)])
@pytest.mark.parametrize('box', [FULL_BOX, (0, 0, 0, 0), (.995, .995, .995, .995), (.2, .6, .3, .9), (.9, 0, .99, .1)])
def test_crops_of_a_box_are_inside_the_image(size, box):
    image = Image.new('RGB', size)
    for alpha in (.1, .6, 5.):
        top, left, height, width = crops_in_box(image, box, alpha=alpha).T
        assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
        assert (top + height <= image.height).all() and (left + width <= image.width).all()


@pytest.mark.parametrize('centre', [(.5, .5), (.02, .9), (.99, .01)])
def test_all_crops_of_a_tiny_box_contain_its_centre(centre):
    image, (y, x) = Image.new('RGB', (200, 150)), centre
    top, left, height, width = crops_in_box(image, (y, x, y, x)).T
    assert ((top <= 150 * y) & (150 * y < top + height) & (left <= 200 * x) & (200 * x < left + width)).all()
    assert len(set(height)) > 50 and len(set(width)) > 50


def test_crop_centres_lie_between_the_borders_of_the_box():
    """Crops of 28 x 28 px, from a box of rows 30 to 80 and columns 40 to 120; a small alpha meets the borders only."""
    image, box = Image.new('RGB', (200, 100)), (.3, .2, .8, .6)
    for alpha, shares in ((.6, (.3, .6)), (1., (.15, .25)), (.005, (.95, 1.))):
        top, left, height, width = crops_in_box(image, box, (.04, .04), (1., 1.), alpha, 2000).T
        assert set(height) == set(width) == {28}
        for start, (first, last) in ((top, (30 - 14, 80 - 14)), (left, (40 - 14, 120 - 14))):
            position = (start - first) / (last - first)
            assert 0 <= position.min() < .02 and .97 < position.max() <= 1
            assert shares[0] < np.mean((position < .1) | (position > .9)) < shares[1]
        assert abs(np.corrcoef(top, left)[0, 1]) < .1  # drawn independently


def test_a_full_box_and_alpha_1_are_close_to_torchvision():
    """Kolmogorov-Smirnov distances of area, shape and position; with a smaller alpha only the position is another."""
    def features(crops):
        top, left, height, width = crops[(crops[:, 2] < 130) & (crops[:, 3] < 180)].T  # others can hardly move
        return height * width, width / height, top / (150 - height), left / (200 - width)

    image, scale, ratio, number = Image.new('RGB', (200, 150)), (.1, .8), (3 / 4, 4 / 3), 4000
    with seeded(1):
        theirs = features(np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(number)]))
    for alpha, positions_agree in ((1., True), (.4, False)):
        ours = features(crops_in_box(image, FULL_BOX, scale, ratio, alpha, number))
        distances = [ks_2samp(a, b).statistic for a, b in zip(ours, theirs)]
        assert max(distances[:2]) < .05
        assert max(distances[2:]) < .05 if positions_agree else min(distances[2:]) > .08


def test_views_come_from_the_box_once_it_is_known():
    crop = CropViews(16, (.05, .1), num=20, flip=0., box_alpha=.6)
    with seeded(0):
        unknown = crop(ramp(200, 150))
    with seeded(0):
        plain = CropViews(16, (.05, .1), num=20, flip=0.)(ramp(200, 150))
    assert torch.equal(unknown.images, plain.images) and torch.equal(unknown.boxes, plain.boxes)
    with seeded(0):
        views = crop(ramp(200, 150), (.8, .8, .9, .9))
    centres = views.boxes[:, :2] + views.boxes[:, 2:] / 2
    assert (centres > torch.tensor([200 * .7, 150 * .7])).all() and not (plain.boxes[:, 0] > 100).all()
    assert (views.images[:, 0].float().mean((1, 2)) / 255 * 200 - centres[:, 0]).abs().max() < 2


def test_an_elongated_image_has_its_fallback_wherever_the_box_is():
    views = CropViews(16, (.9, 1.), num=3, box_alpha=.6)(ramp(600, 40), (0, 0, .1, .1))
    assert views.boxes.tolist() == [[(600 - 53) // 2, 0, 53, 40]] * 3


def photo(width: int = 160, height: int = 120) -> Image.Image:
    """Soft structure and a little noise."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.normal(128, 70, (8, 9, 3)).clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return Image.fromarray((np.asarray(coarse) + rng.normal(0, 8, (height, width, 3))).clip(0, 255).astype(np.uint8))


def made(image: Image.Image, seed: int = 0, backend: str = 'fast', device: bool = False, **arguments) -> ViewGroup:
    crop = CropViews(**{'size': 32, 'scale': (.05, 1.), **arguments})
    crop.backend, crop.photometric_device = backend, device
    with seeded(seed):
        return crop(image)


def finished(group: ViewGroup) -> ViewGroup:
    return adjusted(Views({'global': group}, torch.tensor(0)))['global']


def distance(a: ViewGroup, b: ViewGroup) -> torch.Tensor:
    return (a.images.float() - b.images.float()).abs()


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic', 'lanczos'])
def test_a_fast_crop_is_pillows_to_half_a_level(interpolation):
    """Enlarged or made smaller; Lanczos' filter is Pillow's own."""
    for size in (16, 64):
        arguments = dict(size=size, num=8, interpolation=interpolation)
        ours, theirs = made(photo(), **arguments), made(photo(), backend='pillow', **arguments)
        assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.flips, theirs.flips)
        assert distance(ours, theirs).mean() < (.5 if interpolation != 'lanczos' else 1e-9) and distance(ours, theirs).max() <= 2


def test_every_way_draws_the_same_and_makes_views_of_the_same_statistics():
    """Boxes, flips, masks and the colours that are drawn are equal; mean, variance and energy of gradients are to 2 %."""
    arguments = dict(num=60, photometric=dict(solarize_prob=.2), mask=dict(patch_size=8))
    theirs, *ours = (made(photo(), 3, backend, device, **arguments) for backend, device in (('pillow', 0), ('fast', 0), ('fast', 1)))
    assert ours[1].photometric.shape == (60, 1, 16) and ours[0].photometric is None

    def statistics(group):
        levels = group.images.float()
        return torch.stack([levels.mean(), levels.var(), levels.diff(dim=-1).square().mean(), levels.diff(dim=-2).square().mean()])

    for group in (ours[0], finished(ours[1])):
        assert all(torch.equal(getattr(group, name), getattr(theirs, name)) for name in ('boxes', 'flips', 'masks'))
        torch.testing.assert_close(statistics(group), statistics(theirs), rtol=.02, atol=0)
        assert distance(group, theirs).mean() < 1
        assert (group.images.float().mean((1, 2, 3)) - theirs.images.float().mean((1, 2, 3))).abs().max() < 1
    assert distance(finished(ours[1]), ours[0]).mean() < .05 and distance(ours[1], ours[0]).mean() > 5


def test_transforms_of_pillows_images_work_in_every_way():
    """They and what comes before them is done in place; of the rest of the views the device knows."""
    class Negative:
        def __call__(self, image):
            return image.point(lambda level: 255 - level)

    arguments = dict(photometric=[dict(type=Negative), dict(blur_prob=1.), None], flip=1.)
    theirs, ours, device = (made(photo(), 0, *way, **arguments) for way in (('pillow', ), ('fast', ), ('fast', True)))
    assert distance(ours, theirs).mean() < 1 and distance(device, ours)[[0, 2]].max() == 0 and distance(device, ours)[1].mean() > 1
    assert distance(finished(device), ours).mean() < .05


@pytest.mark.parametrize('size, scale, ratio', [((400, 300), (.25, 1.), (3 / 4, 4 / 3)), ((601, 97), (.9, 1.), (3 / 4, 4 / 3)),
                                               ((301, 300), (.5, .6), (2., 3.)), ((300, 301), (.1, .6), (.2, .5))])
def test_no_crop_is_smaller_than_spare_says(size, scale, ratio):
    crop = CropViews(10, scale, num=400, ratio=ratio)
    with seeded(0):
        sides = crop(Image.new('RGB', size)).boxes[:, 2:]
    assert 1 < crop.spare(*size) <= sides.min() / 10 < 1.5 * crop.spare(*size)


@pytest.mark.parametrize('backend', ['pillow', 'fast'])
def test_views_of_an_image_that_was_decoded_small_are_where_boxes_say(backend):
    """Boxes in pixels of the file, and pixels from there, though the edges of boxes are between those of the small image."""
    image, whole = ramp(803, 601).resize((101, 76), box=(0, 0, 803, 601)), ramp(803, 601)
    small = ramp(808, 608).resize((101, 76), Image.Resampling.BOX)  # as a decoder does it, whose last blocks reach beyond the image
    small.info['full_size'] = whole.size
    ours, theirs = made(small, 0, backend, num=12, size=24, scale=(.3, 1.)), made(whole, 0, backend, num=12, size=24, scale=(.3, 1.))
    assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.flips, theirs.flips) and image.size == small.size
    shift = (theirs.images[:, :2].float() - ours.images[:, :2].float()) - torch.tensor([1 - 803 / 808, 1 - 601 / 608])[:, None, None] * \
        theirs.images[:, :2].float()
    assert shift[..., 2:-2, 2:-2].abs().max() < 2
