"""JHMDB, VIP and the videos of YouTube-VOS and MOSE."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from tiny_videos import SIZE, drifting, write_jhmdb, write_objects, write_vip

from mmdssl.datasets.jhmdb import JHMDB
from mmdssl.datasets.palette import save_mask
from mmdssl.datasets.vip import VIP
from mmdssl.datasets.vos import VideoObjects
from mmdssl.errors import InputError


@pytest.fixture(scope='module')
def roots(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('videos')
    write_jhmdb(root / 'jhmdb')
    write_vip(root / 'vip')
    write_objects(root / 'valid')
    return root


@pytest.fixture
def copy(roots, tmp_path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(roots, tmp_path / 'copy'))


def test_jhmdb_is_the_clips_for_test_with_joints_from_0(roots, tmp_path):
    expected = write_jhmdb(tmp_path / 'again')
    dataset = JHMDB(str(roots / 'jhmdb'), size=(32, 40))
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == ['clap/clip_0', 'wave/clip_1']
    item = dataset[1]
    assert item['frames'].shape == (4, 3, 32, 40) and item['frames'].dtype == torch.uint8 and item['size'] == SIZE
    assert np.array_equal(item['joints'], expected['wave/clip_1'])
    assert np.array_equal(JHMDB(str(roots / 'jhmdb'), size=SIZE)[1]['frames'].permute(0, 2, 3, 1), drifting(4, 1))


@pytest.mark.parametrize('order', [1, -1])
def test_jhmdb_takes_the_lists_of_crw_and_cropmae(copy, order):
    """One has the images first, the other the joints."""
    paths = ['/elsewhere/jhmdb/Rename_Images/wave/clip_1', '/elsewhere/jhmdb/joint_positions/wave/clip_1/joint_positions.mat']
    (copy / 'jhmdb/val_list.txt').write_text(' '.join(paths[::order]) + '\n')
    dataset = JHMDB(str(copy / 'jhmdb'), list_file='val_list.txt')
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == ['wave/clip_1']


def test_vip_is_masks_of_parts(roots, tmp_path):
    masks = write_vip(tmp_path / 'again')
    item = VIP(str(roots / 'vip'), short_side=24, long_side_step=8)[1]
    assert item['name'] == 'videos1' and item['frames'].shape == (4, 3, 24, 64)
    assert np.array_equal(item['first_mask'], masks['videos1'][0]) and len(item['mask_paths']) == 4


def test_objects_have_their_first_masks_and_the_frames_that_are_asked_for(roots):
    dataset = VideoObjects(str(roots / 'valid'), short_side=48, long_side_step=8)
    late, plain = dataset[0], dataset[1]
    assert [Path(path).stem for path in late['frame_paths']] == [f'{5 * t:05d}' for t in range(1, 6)]
    assert late['frames'].shape == (5, 3, 48, 128) and late['asked'] == [True, False, True, False, True]
    assert set(np.unique(late['first_mask'])) == {0, 3} and list(late['later_masks']) == [2]
    assert set(np.unique(late['later_masks'][2])) == {0, 7}
    assert set(np.unique(plain['first_mask'])) == {0, 1, 2} and not plain['later_masks']


def test_frames_may_be_those_of_another_part(copy):
    shutil.move(copy / 'valid/JPEGImages', copy / 'all/JPEGImages')
    assert len(VideoObjects(str(copy / 'valid'), frames='../all/JPEGImages')[0]['frame_paths']) == 5


def test_the_files_of_macs_are_passed_over(copy):
    (copy / 'jhmdb/splits/._clap_test_split1.txt').write_bytes(b'\0\xff')
    (copy / 'jhmdb/Rename_Images/clap/clip_0/._00001.png').write_bytes(b'none')
    (copy / 'valid/Annotations/.DS_Store').write_bytes(b'none')
    assert len(JHMDB(str(copy / 'jhmdb'))) == 2 and len(JHMDB(str(copy / 'jhmdb'))[0]['frame_paths']) == 4
    assert len(VideoObjects(str(copy / 'valid'))) == 2


def joints(root: Path) -> Path:
    return root / 'jhmdb/joint_positions/clap/clip_0/joint_positions.mat'


def meta(change):
    def damage(root):
        found = json.loads((root / 'valid/meta.json').read_text())
        change(found['videos'])
        (root / 'valid/meta.json').write_text(json.dumps(found))
    return damage


@pytest.mark.parametrize('make, damage, match', [
    ('jhmdb', lambda root: shutil.rmtree(root / 'jhmdb/splits'), r"no '\*_test_split1.txt' in .*splits': set data_root to"),
    ('jhmdb', lambda root: [path.write_text('clip.avi 1\n') for path in (root / 'jhmdb/splits').iterdir()], 'ends with 2, which marks'),
    ('jhmdb', lambda root: shutil.rmtree(root / 'jhmdb/Rename_Images/wave/clip_1'), "'clip_1' of .* is empty, there are no frames in"),
    ('jhmdb', lambda root: joints(root).unlink(), "clap/clip_0/joint_positions.mat' does not exist"),
    ('vip', lambda root: shutil.rmtree(root / 'vip/lists'), "val_videos.txt' does not exist: give VIP_Fine"),
    ('vip', lambda root: (root / 'vip/lists/val_videos.txt').write_text(''), 'names no sequence'),
    ('vip', lambda root: (root / 'vip/Annotations/Category_ids/videos1/00002.png').unlink(), "'videos1' has no mask for 1 of its 4"),
    ('valid', lambda root: shutil.rmtree(root / 'valid/Annotations'), 'there is no folder of a video in'),
    ('valid', lambda root: shutil.rmtree(root / 'valid/JPEGImages/late'), "'late' of .* is empty, there are no frames"),
    ('valid', lambda root: (root / 'valid/JPEGImages/late/00015.jpg').unlink(), "'late' has no frame '00015'"),
    ('valid', lambda root: (root / 'valid/Annotations/plain/00000.png').unlink(), "'plain' has no mask in"),
    ('valid', lambda root: (root / 'valid/meta.json').write_text('{'), "meta.json' does not say which frames"),
    ('valid', lambda root: (root / 'valid/meta.json').write_text('{"videos": []}'), "meta.json' does not say which frames"),
    ('valid', meta(lambda videos: videos.pop('plain')), "does not name the video 'plain'"),
    ('valid', meta(lambda videos: videos['plain']['objects']['1']['frames'].append('00099')), "no frame '00099'"),
])
def test_what_is_missing_is_named_at_once(copy, make, damage, match):
    damage(copy)
    with pytest.raises(InputError, match=match):
        dict(jhmdb=JHMDB, vip=VIP, valid=VideoObjects)[make](str(copy / make))


@pytest.mark.parametrize('make, damage, match', [
    ('jhmdb', lambda root: joints(root).write_bytes(b'none'), "joint_positions.mat' cannot be read"),
    ('jhmdb', lambda root: savemat(joints(root), dict(scale=1.)), "has no 'pos_img'"),
    ('jhmdb', lambda root: savemat(joints(root), dict(pos_img=np.zeros((15, 2)))), 'has the shape'),
    ('jhmdb', lambda root: savemat(joints(root), dict(pos_img=np.zeros((2, 15, 9)))), 'joints of 9 frames, but its clip has 4'),
    ('jhmdb', lambda root: (root / 'jhmdb/Rename_Images/clap/clip_0/00003.png').write_bytes(b'none'), 'cannot be decoded'),
    ('vip', lambda root: save_mask(np.full(SIZE, 20, np.uint8), root / 'vip/Annotations/Category_ids/videos0/00000.png'), 'has the id 20'),
    ('valid', lambda root: save_mask(np.ones((8, 8), np.uint8), root / 'valid/Annotations/late/00015.png'), 'must have one size'),
    ('valid', lambda root: Image.new('RGB', (128, 48)).save(root / 'valid/Annotations/late/00005.png'), 'has colours'),
])
def test_files_that_cannot_be_used_are_named(copy, make, damage, match):
    damage(copy)
    with pytest.raises(InputError, match=match):
        dict(jhmdb=JHMDB, vip=VIP, valid=VideoObjects)[make](str(copy / make), short_side=48)[0]


def test_a_clip_that_is_listed_twice_counts_once(copy):
    split = copy / 'jhmdb/splits/clap_test_split1.txt'
    split.write_text(split.read_text() * 2)
    assert len(JHMDB(str(copy / 'jhmdb'))) == 2


def test_a_list_of_something_else_is_an_error(copy):
    (copy / 'jhmdb/val_list.txt').write_text('clip_0 clip_1\n')
    with pytest.raises(InputError, match='does not name clips as Rename_Images/<action>/<clip>'):
        JHMDB(str(copy / 'jhmdb'), list_file='val_list.txt')
