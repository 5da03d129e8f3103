from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmdssl.registry import MODELS
from mmdssl.visualization import draw_attention


def test_picture_shows_each_image_and_its_attention_by_head(tiny_backbone, tmp_path):
    backbone = MODELS.build(tiny_backbone).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    normalised = images.float() / 255 - 0.5
    draw_attention(backbone, images, normalised, tmp_path / 'attention.png')
    picture = np.array(Image.open(tmp_path / 'attention.png'))
    # A row per image; the image and two heads, with 2 px between.
    assert picture.shape == (3 * 34 + 2, 3 * 34 + 2, 3)
    shown = picture[36:68, 2:34]
    assert np.abs(shown.astype(int) - images[1].permute(1, 2, 0).numpy()).max() <= 1
    maps = backbone.attention_maps(normalised)
    row, column = divmod(int(maps[1, 0].argmax()), 4)
    brightest = picture[36:68, 36:68][row * 8:row * 8 + 8, column * 8:column * 8 + 8]
    original = shown[row * 8:row * 8 + 8, column * 8:column * 8 + 8]
    assert np.abs(brightest.astype(int) - original).max() <= 1


def test_of_a_network_without_heads_to_show_it_shows_the_heat_map(tmp_path):
    backbone = MODELS.build(dict(type='TimmBackbone', name='resnet18', model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)))).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    normalised = images.float() / 255 - 0.5
    draw_attention(backbone, images, normalised, tmp_path / 'attention.png')
    picture = np.array(Image.open(tmp_path / 'attention.png')).astype(int)
    assert picture.shape == (2 * 66 + 2, 2 * 66 + 2, 3)
    row, column = divmod(int(backbone.heat_map(normalised)[1].argmax()), 2)
    cell = slice(68 + 32 * row, 100 + 32 * row), slice(32 * column, 32 * column + 32)
    photo, heated = picture[:, 2:66][cell], picture[:, 68:132][cell]
    assert np.abs(photo - heated).max() <= 1
