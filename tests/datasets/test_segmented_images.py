from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import functional as F

from mmdssl.datasets import SegmentedImages
from mmdssl.errors import InputError

PARTS = dict(images='images/train', masks='annotations/train', size=16)
CLASSES = ['sky', 'road', 'tree']


@pytest.fixture
def root(tmp_path):
    """Four images of several sizes, two of them in a folder, with the ids 0 to 3 and 255; the last one is damaged."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(('a', 'b', 'town/c', 'town/d')):
        for part in ('images', 'annotations'):
            (tmp_path / part / 'train' / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (30 + 8 * i, 44)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(tmp_path / f'images/train/{name}.jpg')
        Image.fromarray(rng.choice([0, 1, 2, 3, 255], shape).astype(np.uint8)).save(tmp_path / f'annotations/train/{name}.png')
    (tmp_path / 'images/train/town/d.jpg').write_bytes(b'none')
    (tmp_path / 'classes.txt').write_text('sky\nroad\ntree\nnothing\n')
    (tmp_path / 'list.txt').write_text('town/c\na\n')
    return tmp_path


def read(root, name):
    return Image.open(root / f'images/train/{name}.jpg'), np.array(Image.open(root / f'annotations/train/{name}.png'))


def test_items_are_squares_of_image_and_classes(root):
    dataset = SegmentedImages(str(root), **PARTS, ignore=[3])
    assert dataset.classes == CLASSES and len(dataset) == 4
    item = dataset[2]
    image, ids = read(root, 'town/c')
    assert torch.equal(item['image'], F.pil_to_tensor(image.resize((16, 16), Image.Resampling.BILINEAR)))
    rows, columns = (np.arange(16) * side // 16 for side in ids.shape)
    assert np.array_equal(item['mask'], np.where(ids == 3, 255, ids)[rows][:, columns])
    assert (item['label'], item['index']) == (0, 2)
    broken = dataset[3]
    assert broken['label'] == -1 and (broken['mask'] == 255).all() and broken['image'].shape == (3, 16, 16)
    batch = next(iter(DataLoader(dataset, 4)))
    assert batch['mask'].shape == (4, 16, 16) and batch['mask'].dtype == torch.uint8 and batch['label'].tolist() == [0, 0, 0, -1]


@pytest.mark.parametrize('settings, wanted', [
    (dict(classes=['sky', 'road', 'tree', 'car']), {0: 0, 1: 1, 2: 2, 3: 3}),
    (dict(classes=['road', 'tree', 'car'], reduce_zero_label=True), {0: 255, 1: 0, 2: 1, 3: 2}),
    (dict(classes=dict(ground=[1, 3], rest=[0])), {0: 1, 1: 0, 2: 255, 3: 0}),
    (dict(ignore=[1]), {0: 0, 1: 255, 2: 1, 3: 2}),
])
def test_ids_become_classes(root, settings, wanted):
    dataset = SegmentedImages(str(root), **{**PARTS, 'size': 44}, names='list.txt', **settings)
    assert [dataset.get_data_info(i)['img_path'][-7:] for i in range(2)] == ['n/c.jpg', 'n/a.jpg']
    ids = read(root, 'town/c')[1][np.arange(44) * 46 // 44]
    assert np.array_equal(dataset[0]['mask'], np.vectorize({**wanted, 255: 255}.get)(ids))


def test_augmented_crops_depend_on_their_key_alone(root):
    dataset = SegmentedImages(str(root), **PARTS, ignore=[3], augment=True, epochs=2)
    assert len(dataset) == 8
    one, again, other = dataset[0], dataset[0, 0, 0], dataset[4]
    assert torch.equal(one['image'], again['image']) and torch.equal(one['mask'], again['mask'])
    assert not torch.equal(one['image'], other['image']) and other['index'] == 4
    assert torch.equal(other['image'], dataset[0, 1, 4]['image'])
    for index in (0, 2, 4):
        assert torch.equal(dataset.read_mask(index), dataset[index]['mask'])
    seeds = [SegmentedImages(str(root), **PARTS, ignore=[3], augment=True, seed=seed)[0]['image'] for seed in (0, 1)]
    assert torch.equal(seeds[0], one['image']) and not torch.equal(*seeds)


def test_a_crop_of_image_and_mask_is_the_same(root):
    """Where an image shows its mask, so does every crop of it."""
    ids = np.kron(np.random.default_rng(1).integers(0, 3, (3, 4)), np.ones((40, 40))).astype(np.uint8)
    Image.fromarray(ids).save(root / 'annotations/train/a.png')
    Image.fromarray(np.stack([80 * ids] * 3, -1)).save(root / 'images/train/a.jpg', quality=100)
    dataset = SegmentedImages(str(root), **{**PARTS, 'size': 64}, ignore=[3], augment=True, epochs=4)
    for index in (0, 4, 8, 12):
        item = dataset[index]
        shown = [item['image'][:, item['mask'] == number].float() for number in (0, 1, 2)]
        means = [values.median().item() for values in shown if values.numel()]
        assert means == sorted(means) and len(means) > 1
        assert all((values - values.median()).abs().float().median() < 12 for values in shown if values.numel())


def test_what_is_wrong_is_said(root):
    def refused(match, **settings):
        with pytest.raises(InputError, match=match):
            SegmentedImages(str(root), **{**PARTS, **settings})[0]
    refused("a.png' has the id 3, which is of none of the 3 classes", classes=CLASSES)
    refused("'.*gone' is not a folder", images='gone')
    refused(r"no image '\*.tif' below '.*train'", image_suffix='.tif')
    refused("gone.txt' does not exist: set names to", names='gone.txt')
    refused("gone.txt' does not exist: write the names of the classes to it", classes='gone.txt')
    refused('SegmentedImages has ignore=.*whole numbers from 0 to 255', ignore=[256])
    Image.new('L', (44, 31)).save(root / 'annotations/train/a.png')
    refused(r"a.png' has height and width \(31, 44\), but its image has \(30, 44\)", ignore=[3])
    Image.new('RGB', (44, 30)).save(root / 'annotations/train/a.png')
    refused("a.png' has colours", ignore=[3])
    (root / 'annotations/train/b.png').unlink()
    refused("1 of the 8 images and masks of '.*train' do not exist, first '.*b.png'")
    (root / 'list.txt').write_text('\n')
    refused('names no image', names='list.txt')


def test_images_with_another_ending_are_told_of(root, monkeypatch):
    def warnings(**folders):
        said = []
        monkeypatch.setattr('mmdssl.datasets.segmented_images.print_log', lambda message, *_: said.append(message))
        assert len(SegmentedImages(str(root), **{**PARTS, **folders}, ignore=[3])) == 4
        return said
    (root / 'images/train/notes.txt').write_text('no image')
    assert not warnings()
    shutil.copytree(root / 'annotations/train', root / 'images/train/masks')
    assert not warnings(masks='images/train/masks'), 'masks are no images'
    shutil.rmtree(root / 'images/train/masks')
    for name in ('town/e.JPG', 'town/f.jpeg'):
        shutil.copy(root / 'images/train/a.jpg', root / 'images/train' / name)
    message, = warnings()
    assert message.startswith('2 images below') and message.endswith("image_suffix='.jpg' and are not used, first 'town/e.JPG'")
    (root / 'all.txt').write_text('a\nb\ntown/c\ntown/d\n')
    assert not warnings(names='all.txt'), 'a list says what is used'


def test_crops_are_mirrored_with_their_masks_and_keep_their_colours(root):
    settings = dict(PARTS, names='list.txt', ignore=[3], augment=True, scale=(0.8, 1.0), jitter=0.0)
    plain, mirrored = (SegmentedImages(str(root), **settings, flip=flip) for flip in (0.0, 1.0))
    some = SegmentedImages(str(root), **settings, flip=0.5)
    turned = 0
    for epoch in range(12):
        key = (3, epoch, 1)
        expected = plain[key]
        found = mirrored[key]
        assert torch.equal(found['image'], expected['image'].flip(-1)) and torch.equal(found['mask'], expected['mask'].flip(-1))
        assert torch.equal(mirrored.read_mask(key), found['mask']) and torch.equal(some.read_mask(key), some[key]['mask'])
        turned += torch.equal(some[key]['mask'], found['mask'])
    assert 2 < turned < 10
    assert not torch.equal(plain[3, 0, 1]['image'], plain[3, 1, 1]['image'])
