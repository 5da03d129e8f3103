from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from PIL import Image
from torch.utils.data import DataLoader

from mmdssl.datasets.davis import DAVIS, list_samples, read_mask, resized
from mmdssl.errors import InputError


@pytest.fixture
def copy(davis_root, tmp_path) -> Path:
    """The data set, to be damaged."""
    return Path(shutil.copytree(davis_root, tmp_path / 'davis'))


def test_an_item_is_a_whole_sequence(davis_root):
    dataset = DAVIS(str(davis_root), short_side=64)
    assert len(dataset) == 3
    item = dataset[1]
    assert item['name'] == 'val-01'
    assert [Path(path).name for path in item['frame_paths']] == [f'{i:05d}.jpg' for i in range(6)]
    assert all(Path(path).is_file() for path in item['mask_paths'])
    assert item['frames'].shape == (6, 3, 64, 64) and item['frames'].dtype == torch.uint8
    pixels = cv2.resize(cv2.imread(item['frame_paths'][3]), (64, 64))[..., ::-1]
    assert np.array_equal(item['frames'][3].permute(1, 2, 0), pixels)
    assert np.array_equal(item['first_mask'], Image.open(item['mask_paths'][0]))


@pytest.mark.parametrize('size, expected', [
    ((480, 854), (480, 832)), ((480, 910), (480, 896)), ((854, 480), (832, 480)), ((1080, 1920), (480, 832)),
    ((480, 640), (480, 640)),
])
def test_size_is_480_by_a_multiple_of_64(size, expected):
    assert resized(*size, 480, 64) == expected


def test_batches_come_from_workers_and_processes_share_the_sequences(davis_root):
    dataset = DAVIS(str(davis_root), short_side=32, long_side_step=8)
    names = []
    for rank in range(2):
        sampler = DefaultSampler(dataset, shuffle=False, round_up=False)
        sampler.rank, sampler.world_size, sampler.num_samples = rank, 2, 2 - rank
        batches = list(DataLoader(dataset, 1, sampler=sampler, num_workers=1, collate_fn=list_samples))
        assert all(len(batch) == 1 and batch[0]['frames'].shape == (6, 3, 32, 48) for batch in batches)
        names.append([batch[0]['name'] for batch in batches])
    assert names == [['val-00', 'val-02'], ['val-01']]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def remove(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize('damage, match', [
    (lambda root: remove(root, 'ImageSets'), "ImageSets/2017/val.txt' does not exist: give the folder of DAVIS-2017"),
    (lambda root: (root / 'ImageSets/2017/val.txt').write_text('\n'), 'names no sequence'),
    (lambda root: remove(root, 'JPEGImages/480p/val-01'), "sequence 'val-01' .* is empty"),
    (lambda root: remove(root, *(f'JPEGImages/480p/val-02/{i:05d}.jpg' for i in range(6))), "'val-02' .* is empty"),
    (lambda root: remove(root, 'Annotations/480p/val-00/00000.png'), "'val-00' has no mask for 1 of its 6.*00000.png"),
    (lambda root: [path.rename(path.with_suffix('.jpg')) for path in (root / 'Annotations/480p/val-00').iterdir()],
     "'val-00' has no mask for 6 of its 6 frames.*masks end with .jpg: save them as PNG"),
    (lambda root: Image.new('P', (90, 60)).save(root / 'Annotations/480p/val-01/00003.png'),
     "'val-01' begins with a frame of 192 x 112 pixels, and 1 of its 6 masks .*val-01/00003.png' with 90 x 60.*must have one size"),
    (lambda root: Image.fromarray(np.arange(192 * 112, dtype=np.uint8).reshape(112, 192)).save(
        root / 'Annotations/480p/val-02/00000.png'), "val-02/00000.png' has 254 levels beside 0 and 255, as of edges that were smoothed"),
], ids=['list', 'empty list', 'sequence', 'empty sequence', 'first mask', 'jpeg', 'size of a mask', 'smooth'])
def test_what_is_missing_is_named_at_once(copy, damage, match):
    damage(copy)
    with pytest.raises(InputError, match=match):
        DAVIS(str(copy))


@pytest.mark.parametrize('damage, match', [
    (lambda root: (root / 'JPEGImages/480p/val-00/00002.jpg').write_bytes(b'none'), "00002.jpg' cannot be decoded"),
    (lambda root: cut(root / 'JPEGImages/480p/val-00/00002.jpg'), "00002.jpg' cannot be decoded"),
    (lambda root: cut(root / 'Annotations/480p/val-00/00000.png'), "00000.png' cannot be read"),
    (lambda root: (root / 'Annotations/480p/val-00/00000.png').write_bytes(b'none'), "00000.png' cannot be read"),
    (lambda root: Image.new('RGB', (192, 112)).save(root / 'Annotations/480p/val-00/00000.png'), 'has colours'),
    (lambda root: Image.new('RGB', (90, 90)).save(root / 'JPEGImages/480p/val-00/00004.jpg'), 'must have one size'),
], ids=['frame', 'cut frame', 'cut mask', 'mask', 'colours', 'size'])
def test_files_that_cannot_be_used_are_named(copy, damage, match):
    damage(copy)
    with pytest.raises(InputError, match=match):
        DAVIS(str(copy))[0]


def test_grey_masks_are_ids_too(tmp_path):
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    Image.fromarray(ids).save(tmp_path / 'grey.png')
    assert np.array_equal(read_mask(tmp_path / 'grey.png'), ids)
