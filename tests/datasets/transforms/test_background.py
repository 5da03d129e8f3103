from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmdssl.datasets import ImageFolder
from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.transforms import SwapBackground
from mmdssl.errors import InputError

SWAP = dict(type='SwapBackground', prob=0.5, blending='hard')
VIEWS = dict(global_=dict(type='mmdssl.CropViews', size=16, scale=(1., 1.), num=2, flip=0., before=SWAP))
PIPELINE = [dict(type='mmdssl.LoadSaliency')]


@pytest.fixture
def root(image_root):
    """Images whose left half is salient."""
    for path in image_root.rglob('*.png'):
        width, height = Image.open(path).size
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[:, :width // 2] = 255
        file = image_root.with_name(image_root.name + '_saliency') / f'{path.relative_to(image_root)}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    return image_root


def halves(width: int = 20, height: int = 10) -> tuple[Image.Image, np.ndarray]:
    """Noise whose left half is salient."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    pixels = np.array(image)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, :width // 2] = 255
    image.putalpha(Image.fromarray(mask))
    return image, pixels


def test_the_object_stays_and_a_gray_level_takes_the_rest():
    image, pixels = halves()
    found = set()
    for seed in range(20):
        with seeded(seed):
            swapped = np.array(SwapBackground(1., blending='hard')(image))
        assert (swapped[:, :10] == pixels[:, :10]).all()
        assert np.ptp(swapped[:, 10:]) == 0
        found.add(int(swapped[0, 10, 0]))
    assert len(found) > 10


def test_a_blurred_mask_blends():
    image, pixels = halves(200, 100)
    with seeded(0):
        swapped = np.array(SwapBackground(1., blending='gaussian')(image)).astype(float)
    level = swapped[0, -1]
    assert np.allclose(swapped[:, :80], pixels[:, :80]) and (swapped[:, 120:] == level).all()
    share = (swapped - level)[:, 98:102] / np.where(pixels[:, 98:102] == level, np.nan, pixels[:, 98:102] - level)
    assert 0.2 < np.nanmedian(share) < 0.8


def test_a_mixture_blends_half_of_the_time():
    image, _ = halves(200, 100)
    hard = 0
    for seed in range(60):
        with seeded(seed):
            swapped = np.array(SwapBackground(1.)(image))
        hard += np.ptp(swapped[:, 100:]) == 0
    assert 15 < hard < 45


def test_it_happens_with_the_probability_given():
    image, pixels = halves()
    swap, number = SwapBackground(), 0
    with seeded(0):
        for _ in range(400):
            number += not np.array_equal(np.array(swap(image)), pixels)
    assert 90 < number < 150  # of 400, at .3


@pytest.mark.parametrize('kind', ['image', 'texture'])
def test_other_backgrounds(kind, root):
    dataset = ImageFolder(str(root), views=VIEWS, pipeline=PIPELINE)
    swap = SwapBackground(1., kinds=(kind, ), blending='hard')
    swap.prepare(dataset)
    image, pixels = halves(60, 40)
    found = []
    for seed in range(6):
        with seeded(seed):
            found.append(np.array(swap(image)))
        assert (found[-1][:, :30] == pixels[:, :30]).all() and np.ptp(found[-1][:, 30:]) > 0
    assert len({swapped[:, 30:].tobytes() for swapped in found}) > 2
    if kind == 'image':
        others = [np.array(dataset.whole_image(i).resize((60, 40), Image.Resampling.BILINEAR))[:, 30:] for i in range(len(dataset))]
        assert all(any((swapped[:, 30:] == other).all() for other in others) for swapped in found)


def test_each_view_of_an_image_draws_by_itself_and_from_its_key_alone(root):
    dataset = ImageFolder(str(root), views=VIEWS, pipeline=PIPELINE)
    swapped = []
    for index in range(12):
        views = dataset[(0, 0, index)]
        assert torch.equal(views['global'].images, dataset[(0, 0, index)]['global'].images)
        assert views['global'].images.shape == (2, 3, 16, 16)
        swapped.append([bool(image[:, :, 10:].float().std() < 1) for image in views['global'].images])
    assert {tuple(pair) for pair in swapped} == {(a, b) for a in (False, True) for b in (False, True)}


def test_views_that_keep_their_background_do_not_see_the_mask(root):
    views = dict(VIEWS, local=dict(type='mmdssl.CropViews', size=8, scale=(1., 1.)))
    dataset = ImageFolder(str(root), views=views, pipeline=PIPELINE)
    plain = ImageFolder(str(root), views=dict(local=views['local']))
    assert dataset[3]['local'].images.shape == (1, 3, 8, 8) == plain[3]['local'].images.shape
    assert dataset.whole_image(3).mode == 'RGB'


def test_missing_masks_are_one_error_that_names_the_command(root):
    masks = root.with_name(root.name + '_saliency')
    for name in ('first/03.png.png', 'first/04.png.png'):
        (masks / name).unlink()
    with pytest.raises(InputError) as error:
        ImageFolder(str(root), views=VIEWS, pipeline=PIPELINE)
    for part in (f"2 of 12 images have no saliency mask in '{masks}', first {root}/first/03.png",
                 f'`python tools/make_saliency.py {root}`'):
        assert part in str(error.value)
    with pytest.raises(InputError, match='12 of 12 images .* --out nowhere'):
        ImageFolder(str(root), views=VIEWS, pipeline=[dict(type='mmdssl.LoadSaliency', folder='nowhere')])
    assert len(ImageFolder(str(root), views=VIEWS, pipeline=PIPELINE, indices=3)) == 3


def test_a_broken_mask_is_named(root):
    file = root.with_name(root.name + '_saliency') / 'first/03.png.png'
    file.write_bytes(b'broken')
    with pytest.raises(InputError, match=f"the saliency mask '{file}' cannot be read"):
        ImageFolder(str(root), views=VIEWS, pipeline=PIPELINE)[3]


def test_settings_that_do_not_fit_are_input_errors(root):
    with pytest.raises(InputError, match='kinds of backgrounds are gray, image, texture'):
        SwapBackground(kinds=('forest', ))
    with pytest.raises(InputError, match="blending is one of hard, gaussian, mix, got 'soft'"):
        SwapBackground(blending='soft')
    with pytest.raises(InputError, match="SwapBackground needs saliency masks: add dict\\(type='LoadSaliency'\\)"):
        ImageFolder(str(root), views=VIEWS)[0]
