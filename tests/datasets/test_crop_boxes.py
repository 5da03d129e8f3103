from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from mmdssl.datasets import ImageFolder
from mmdssl.datasets.crop_boxes import WholeImages, boxes_of_heat_maps


def box_of(heat: torch.Tensor, size: int, threshold: float) -> list[float]:
    """Step by step, for one map, with PIL's bilinear enlargement instead of PyTorch's."""
    levels = heat.double().numpy()
    levels = (levels - levels.min()) / (levels.max() - levels.min() + 1e-5)
    large = np.asarray(Image.fromarray(levels.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))
    rows = [i for i in range(size) if large[i].max() > threshold]
    columns = [i for i in range(size) if large[:, i].max() > threshold]
    return [rows[0] / size, columns[0] / size, rows[-1] / size, columns[-1] / size]


@pytest.mark.parametrize('shape, size, threshold', [((14, 14), 224, .1), ((7, 7), 224, .6), ((3, 5), 40, .8)])
def test_boxes_are_those_of_the_plain_computation(shape, size, threshold):
    heat = torch.rand(20, *shape) ** 40 * 3 - 1
    boxes = boxes_of_heat_maps(heat, size, threshold)
    assert boxes.shape == (20, 4) and boxes.dtype == torch.float32
    assert len(boxes.unique(dim=0)) > 3
    expected = torch.tensor([box_of(one, size, threshold) for one in heat])
    # rounding may move an edge by a pixel where the enlarged map passes the threshold
    torch.testing.assert_close(boxes, expected, rtol=0, atol=1.01 / size)
    assert (boxes == expected).float().mean() > .95


def test_box_surrounds_the_bright_patch():
    heat = torch.zeros(1, 8, 8)
    heat[0, 2, 5] = 1
    top, left, bottom, right = (boxes_of_heat_maps(heat, 80)[0] * 80).tolist()
    # pixels 20 to 29 and 50 to 59 are the patch, and half a patch further the enlarged map has fallen to a tenth
    assert (top, bottom) == (16, 33) and (left, right) == (46, 63)


def test_scale_of_the_map_does_not_matter():
    heat = torch.rand(6, 5, 5) ** 4
    assert torch.equal(boxes_of_heat_maps(heat, 50), boxes_of_heat_maps(heat * 64 - 3, 50))


@pytest.mark.parametrize('heat', [torch.full((2, 4, 4), 7.), torch.full((2, 4, 4), float('nan'))])
def test_a_map_that_says_nothing_gives_the_full_box(heat):
    assert boxes_of_heat_maps(heat, 32).tolist() == [[0, 0, 1, 1]] * 2


def test_a_measured_box_is_never_the_full_one():
    """Which stands for images of which nothing is known."""
    heat = torch.zeros(1, 4, 4)
    heat[0, 0, 0] = heat[0, 3, 3] = 1
    assert boxes_of_heat_maps(heat, 32).tolist() == [[0, 0, 31 / 32, 31 / 32]]


def test_whole_images_are_square_and_say_what_cannot_be_read(image_root):
    (image_root / 'first/03.png').write_bytes(b'')
    images = WholeImages(ImageFolder(str(image_root), views=dict(global_=dict(size=8, scale=(.5, 1.)))), 24)
    assert len(images) == 12
    item = images[5]
    with Image.open(image_root / 'first/05.png') as image:
        assert torch.equal(item['image'], F.pil_to_tensor(image.resize((24, 24), Image.Resampling.BICUBIC)))
    assert item['readable'] and item['index'] == 5
    bad = images[3]
    assert not bad['readable'] and bad['image'].shape == (3, 24, 24) and not bad['image'].any()
