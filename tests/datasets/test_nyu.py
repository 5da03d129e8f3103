from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdssl.datasets import NYUDepth
from mmdssl.datasets.nyu import DepthAugmentation, read_depth, scaled_box
from mmdssl.errors import InputError

LIST = 'nyudepthv2_train_files_with_gt.txt'


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images of 64 x 48 px below ``sync``, whose brightness is their depth, in BTS's list."""
    (tmp_path / 'sync/kitchen').mkdir(parents=True)
    for i in range(3):
        levels = np.random.default_rng(i).integers(500, 9000, (48, 64)).astype(np.uint16)
        levels[:4] = 0
        Image.fromarray(levels).save(tmp_path / f'sync/kitchen/depth_{i}.png')
        Image.fromarray((levels[..., None] // 40).repeat(3, axis=2).astype(np.uint8)).save(tmp_path / f'sync/kitchen/rgb_{i}.png')
    (tmp_path / LIST).write_text('\n'.join(f'/kitchen/rgb_{i}.png /kitchen/depth_{i}.png 518.8579' for i in range(3)) + '\n')
    return tmp_path


def test_depth_is_in_metres_and_images_keep_their_pixels(root):
    dataset = NYUDepth(str(root))
    assert len(dataset) == 3
    item = dataset[1]
    levels = np.array(Image.open(root / 'sync/kitchen/depth_1.png'))
    assert item['depth'].dtype == torch.float32 and item['index'] == 1
    np.testing.assert_allclose(item['depth'].numpy(), levels / 1000, rtol=1e-6)
    assert torch.equal(item['image'][2], torch.from_numpy((levels // 40).astype(np.uint8)))


def test_lists_may_begin_at_the_root_too(root):
    text = (root / LIST).read_text().replace('/kitchen', 'sync/kitchen')
    (root / LIST).write_text(text)
    assert len(NYUDepth(str(root))) == 3


def test_resized_images_are_tested_at_the_size_of_their_depth(root):
    item = NYUDepth(str(root), resize=(24, 32))[0]
    assert item['image'].shape == (3, 24, 32) and item['depth'].shape == (48, 64)
    item = NYUDepth(str(root), resize=(24, 32), augmentation=dict(size=(16, 16)))[0]
    assert item['image'].shape == (3, 16, 16) and item['depth'].shape == (16, 16)


def test_the_boxes_of_full_size_images():
    assert scaled_box((43, 45, 608, 472), 480, 640) == (slice(45, 472), slice(43, 608))
    assert scaled_box((43, 45, 608, 472), 48, 64) == (slice(4, 47), slice(4, 60))


def test_image_and_depth_move_together_and_the_key_says_how(root):
    """Where no colours change, brightness still tells the depth, but at the edge of what was rotated and between pixels."""
    dataset = NYUDepth(str(root), augmentation=dict(size=(32, 40), colour=(1, 1), gamma=(1, 1), brightness=(1, 1), rotation=0.))
    items = [dataset[0, epoch, 1] for epoch in range(12)]
    for item in items:
        assert item['image'].shape == (3, 32, 40)
        assert torch.equal(item['image'][0].int(), (item['depth'] * 1000).round().int() // 40)
    assert len({item['depth'].sum().item() for item in items}) > 8
    assert torch.equal(dataset[0, 3, 1]['image'], items[3]['image'])
    state = torch.get_rng_state()
    dataset[0, 5, 2]
    assert torch.equal(torch.get_rng_state(), state)


def test_what_a_rotation_brings_in_has_no_depth_and_colours_change_by_the_formula():
    image, depth = torch.full((3, 48, 64), 100, dtype=torch.uint8), torch.full((48, 64), 2.)
    whole = dict(box=(0, 0, 640, 480), size=(48, 64), flip=0.)
    turned = DepthAugmentation(**whole, rotation=20., colour=(1, 1), gamma=(1, 1), brightness=(1, 1), prob=1.)(image, depth)[1]
    assert set(turned.unique().tolist()) == {0., 2.}
    pixels, same = DepthAugmentation(**whole, rotation=0., colour=(1, 1), gamma=(0.9, 0.9), brightness=(1.5, 1.5), prob=1.)(image, depth)
    assert (pixels == round(1.5 * 100**0.9)).all() and torch.equal(same, depth)


def test_what_is_missing_or_broken_is_named(root):
    with pytest.raises(InputError, match="test.txt' does not exist: set data_root to the folder of NYU Depth v2"):
        NYUDepth(str(root), 'test.txt')
    text = (root / LIST).read_text()
    (root / LIST).write_text(text + '/kitchen/rgb_0.png /kitchen/depth_0.png\n')
    with pytest.raises(InputError, match='the line ./kitchen/rgb_0.png /kitchen/depth_0.png. of .* has 2 columns: write image'):
        NYUDepth(str(root))
    (root / LIST).write_text(text + '/kitchen/rgb_9.png /kitchen/depth_9.png 518\n')
    with pytest.raises(InputError, match='2 images and depths of the 4 .* do not exist, first .*sync/kitchen/rgb_9.png'):
        NYUDepth(str(root))
    (root / LIST).write_text('')
    with pytest.raises(InputError, match='names no image'):
        NYUDepth(str(root))
    (root / LIST).write_text(text)
    dataset, place = NYUDepth(str(root)), root / 'sync/kitchen'
    Image.fromarray(np.ones((10, 12), np.uint16)).save(place / 'depth_0.png')
    with pytest.raises(InputError, match='depth_0.png. has 12 x 10 pixels and .*rgb_0.png. 64 x 48'):
        dataset[0]
    (place / 'depth_1.png').write_bytes((place / 'depth_1.png').read_bytes()[:-200])
    with pytest.raises(InputError, match='depth .*depth_1.png. cannot be read'):
        dataset[1]
    (place / 'rgb_2.png').write_bytes(b'none')
    with pytest.raises(InputError, match='rgb_2.png. cannot be decoded'):
        dataset[2]
    Image.new('RGB', (4, 4)).save(place / 'colours.png')
    with pytest.raises(InputError, match='is an image of the mode RGB, not a grey one of 16 bits'):
        read_depth(str(place / 'colours.png'))
    with pytest.raises(InputError, match=r'there are 43 x 56 pixels within the box .* too few for crops of 416 x 544'):
        DepthAugmentation()(torch.zeros(3, 48, 64), torch.zeros(48, 64))
