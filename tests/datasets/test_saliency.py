from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmdssl.datasets.saliency import attended, folder_of_masks, mask_file, missing_masks, robust_background
from mmdssl.errors import InputError


def scene(width: int = 120, height: int = 90) -> tuple[Image.Image, np.ndarray]:
    """A red disc on a noisy blue ground that gets darker downwards, and where the disc is."""
    rows, columns = np.indices((height, width))
    disc = (rows - 40)**2 + (columns - 70)**2 < 20**2
    pixels = np.stack([np.full(disc.shape, 30), 60 + rows // 2, 150 - rows // 2], -1)
    pixels[disc] = (200, 40, 40)
    pixels = pixels + np.random.default_rng(0).integers(-8, 9, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), disc


def test_what_the_border_does_not_reach_is_salient():
    pytest.importorskip('skimage')
    image, disc = scene()
    saliency = robust_background(image)
    assert saliency.shape == disc.shape and saliency.dtype == np.float32
    assert (saliency.min(), saliency.max()) == (0., 1.)
    found = saliency > 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.8
    assert saliency[~disc].mean() < 0.15


def test_the_border_is_background_even_where_it_stands_out():
    """What is all along a side is background, however red it is."""
    pytest.importorskip('skimage')
    image, disc = scene()
    pixels = np.array(image)
    pixels[75:] = (200, 40, 40)
    saliency = robust_background(Image.fromarray(pixels))
    assert saliency[76:].mean() < 0.5 < 0.8 < saliency[disc].mean()


def test_an_image_of_one_colour_has_a_map():
    pytest.importorskip('skimage')
    saliency = robust_background(Image.new('RGB', (40, 30), 'gray'))
    assert saliency.shape == (30, 40) and np.isfinite(saliency).all()


def test_without_scikit_image_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage.segmentation', None)
    with pytest.raises(InputError, match='pip install scikit-image, or use the attention of a network'):
        robust_background(scene()[0])


def test_the_fewest_patches_with_the_mass():
    heads = torch.tensor([[[[.5, .1], [.1, .3]], [[.1, .3], [.3, .3]]]])  # mean .3 .2 .2 .3
    assert attended(heads, 0.55).tolist() == [[[True, False], [False, True]]]
    assert attended(heads, 0.65).sum() == 3 and attended(heads, 0.25).sum() == 1
    assert attended(torch.rand(3, 2, 5, 4), 0.999999).all()


def test_masks_are_laid_out_as_the_images(tmp_path):
    assert folder_of_masks('data/train/') == folder_of_masks('data/train') == 'data/train_saliency'
    assert mask_file('masks', '/data/train', '/data/train/a/b.jpg') == 'masks/a/b.jpg.png'
    paths = [f'{tmp_path}/train/{name}' for name in ('a/0.jpg', 'a/1.jpg', '2.jpg')]
    (tmp_path / 'masks/a').mkdir(parents=True)
    (tmp_path / 'masks/a/1.jpg.png').touch()
    assert missing_masks(f'{tmp_path}/masks', f'{tmp_path}/train', paths) == [paths[0], paths[2]]
    assert missing_masks(f'{tmp_path}/nowhere', f'{tmp_path}/train', paths) == paths
