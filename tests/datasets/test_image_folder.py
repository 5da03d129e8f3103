from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmdssl.datasets import ImageFolder
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=64, scale=(.14, 1.), num=2)}


def test_every_image_below_the_folder_is_found(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert len(paths) == 12 and paths == sorted(str(path) for path in image_root.rglob('*.png'))
    assert len(ImageFolder(str(image_root / 'first'), views=VIEWS)) == 6


def test_folders_are_labels(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    assert [int(dataset[index].labels) for index in range(12)] == [0] * 6 + [1] * 6
    assert [int(dataset[index].labels) for index in range(3)] == [0] * 3


def test_another_image_in_a_broken_ones_place_has_its_own_label(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    (image_root / 'first/03.png').write_bytes(b'')
    for epoch in range(10):
        views = dataset[(0, epoch, 3)]
        assert views.labels == (views.indices >= 6)


def test_images_outside_of_folders_leave_all_without_labels(image_root):
    (image_root / 'first/00.png').rename(image_root / '00.png')
    dataset = ImageFolder(str(image_root), views=VIEWS)
    assert len(dataset) == 12 and all(dataset[index].labels is None for index in (0, 5))


def test_wrong_folder_is_an_input_error(image_root):
    with pytest.raises(InputError, match='is not a folder'):
        ImageFolder(str(image_root / 'third'), views=VIEWS)
    with pytest.raises(InputError, match='is not a folder'):
        ImageFolder(views=VIEWS)


def test_tiny_imagenet_gives_views(real_data):
    dataset = ImageFolder(str(real_data / 'tiny-imagenet-20/train'), views=VIEWS)
    assert len(dataset) == 10_000
    gray = 0
    for index in range(0, 10_000, 10):
        path = dataset.get_data_info(index)['img_path']
        gray += Image.open(path).mode == 'L'
        if index % 500 == 0:
            views = dataset[(0, 0, index)]
            assert views['global'].images.shape == (2, 3, 64, 64) and not views.skipped
    assert np.isclose(gray / 1000, .017, atol=.01)
