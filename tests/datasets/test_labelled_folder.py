from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from mmdssl.datasets import LabelledFolder, labelled_folder
from mmdssl.errors import InputError


@pytest.fixture
def class_root(tmp_path):
    """Classes of 4, 20 and 36 images of 30 x 44 pixels."""
    rng = np.random.default_rng(0)
    for name, count in (('cat', 20), ('ant', 4), ('dog', 36)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (30, 44, 3), dtype=np.uint8)).save(tmp_path / name / f'{i:02d}.png')
    return tmp_path


def labels(dataset) -> Counter:
    return Counter(dataset.get_data_info(index)['label'] for index in range(len(dataset)))


def test_items_are_resized_then_cropped(class_root):
    dataset = LabelledFolder(str(class_root), resize=24, size=16)
    assert dataset.classes == ['ant', 'cat', 'dog'] and labels(dataset) == {0: 4, 1: 20, 2: 36}
    item = dataset[5]
    reference = transforms.Compose([
        transforms.Resize(24, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(16),
        transforms.PILToTensor()])
    assert item['label'] == 1 and item['index'] == 5 and item['image'].dtype == torch.uint8
    assert torch.equal(item['image'], reference(Image.open(class_root / 'cat/01.png')))


def test_default_collate_makes_batches(class_root):
    batch = next(iter(DataLoader(LabelledFolder(str(class_root), 24, 16), batch_size=6)))
    assert batch['image'].shape == (6, 3, 16, 16) and batch['label'].tolist() == [0, 0, 0, 0, 1, 1]


def test_fraction_is_balanced_and_always_the_same(class_root):
    dataset = LabelledFolder(str(class_root), fraction=.5)
    assert labels(dataset) == {0: 4, 1: 10, 2: 10}  # 60 images * .5 / 3 classes, or all of the class
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    again = LabelledFolder(str(class_root), fraction=.5)
    assert paths == [again.get_data_info(i)['img_path'] for i in range(len(again))]
    assert paths[4:14] != [str(class_root / f'cat/{i:02d}.png') for i in range(10)]  # not simply the first ones
    assert labels(LabelledFolder(str(class_root), fraction=.001)) == {0: 1, 1: 1, 2: 1}


def test_broken_file_is_marked(class_root):
    dataset = LabelledFolder(str(class_root), 24, 16)
    broken = class_root / 'cat/01.png'
    broken.write_bytes(broken.read_bytes()[:1000])
    batch = next(iter(DataLoader(dataset, batch_size=7)))
    assert batch['label'].tolist() == [0, 0, 0, 0, 1, -1, 1] and not batch['image'][5].any()


def test_wrong_folders_and_settings_are_input_errors(class_root):
    with pytest.raises(InputError, match='is not a folder'):
        LabelledFolder(str(class_root / 'train'))
    with pytest.raises(InputError, match='no class folders'):
        LabelledFolder(str(class_root / 'cat'))
    with pytest.raises(InputError, match='larger than resize'):
        LabelledFolder(str(class_root), resize=100, size=224)
    with pytest.raises(InputError, match='fraction=2'):
        LabelledFolder(str(class_root), fraction=2)
    (class_root / 'empty').mkdir()
    with pytest.raises(InputError, match='no image below.*empty'):
        LabelledFolder(str(class_root))


def test_tiny_imagenet_subset_is_balanced(real_data):
    dataset = LabelledFolder(str(real_data / 'tiny-imagenet-20/train'), resize=64, size=64, fraction=.1)
    assert len(dataset) == 1000 and set(labels(dataset).values()) == {50}
    assert dataset[999]['image'].shape == (3, 64, 64) and dataset[999]['label'] == 19


@pytest.mark.parametrize('shape', [(4, 1000), (1000, 4)])
def test_of_a_very_long_image_only_the_middle_is_resized(tmp_path, monkeypatch, shape):
    (tmp_path / 'a').mkdir()
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[tuple(slice(side // 2 - 2, side // 2 + 2) for side in shape)] = 200
    Image.fromarray(pixels).save(tmp_path / 'a/long.png')
    resize, sizes = labelled_folder.F.resize, []
    monkeypatch.setattr(labelled_folder.F, 'resize', lambda image, *args: sizes.append(image.size) or resize(image, *args))
    image = LabelledFolder(str(tmp_path), resize=16, size=12)[0]['image']
    assert sizes == [(80, 4) if shape[0] == 4 else (4, 80)] and image.shape == (3, 12, 12) and (image > 150).all()
