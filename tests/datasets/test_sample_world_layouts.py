from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy.ndimage import binary_dilation

from mmdssl.datasets.sample_world import figures, jhmdb, nyu, saliency, scenes, spair, vip, voc
from mmdssl.datasets.sample_world.files import SCENE_SIZE
from mmdssl.datasets.sample_world.render import FIRST_THING, SKY, look, project, render, surface_points, visible
from mmdssl.datasets.voc_instances import VOCInstances

SQUARE = np.ones((3, 3))


def load(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.fixture
def calls(monkeypatch):
    """What ``calls(module, name)`` names, of which the last result is kept in the list that it returns."""
    def record(module, name):
        function, results = getattr(module, name), []

        def recorded(*args):
            results[:] = [function(*args)]
            return results[0]

        monkeypatch.setattr(module, name, recorded)
        return results

    return record


def test_voc_boxes_are_those_of_the_masks_and_a_void_contour_lies_around_each_object(tmp_path, calls):
    drawn, gathered = calls(voc, 'render'), calls(scenes, 'gathering')
    objects = truncated = 0
    names = [voc.write(tmp_path, np.random.default_rng(seed), 'train', seed) for seed in range(4)]
    for seed, name in enumerate(names):
        voc.write(tmp_path, np.random.default_rng(seed), 'train', seed)
        (_, numbers), (scene, ) = drawn[0], gathered
        classes, ids = (load(tmp_path / f'Segmentation{kind}/{name}.png') for kind in ('Class', 'Object'))
        tree = ElementTree.parse(tmp_path / f'Annotations/{name}.xml').getroot()
        assert [int(tree.find('size').findtext(key)) for key in ('width', 'height', 'depth')] == [*SCENE_SIZE, 3]
        contour = np.zeros(ids.shape, bool)
        for number, thing in enumerate(scene.things, FIRST_THING):
            if thing.shape in scenes.KINDS:
                mask = numbers == number
                contour |= binary_dilation(mask, SQUARE) & binary_dilation(~mask, SQUARE)
        assert (ids[contour] == 255).all() and np.array_equal(ids == 255, classes == 255)
        found = tree.findall('object')
        assert sorted({*np.unique(ids)} - {0, 255}) == list(range(1, len(found) + 1))
        for i, element in enumerate(found, 1):
            assert {*np.unique(classes[ids == i])} == {voc.CLASSES.index(element.findtext('name'))}
            number = np.unique(numbers[ids == i]).item()
            assert scene.things[number - FIRST_THING].shape == element.findtext('name')
            rows, columns = np.nonzero(numbers == number)
            box = [int(element.find('bndbox').findtext(key)) for key in ('xmin', 'ymin', 'xmax', 'ymax')]
            assert box == [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]
            touches = box[0] == 1 or box[1] == 1 or box[2] == SCENE_SIZE[0] or box[3] == SCENE_SIZE[1]
            assert element.findtext('truncated') == str(int(touches)) and element.findtext('difficult') == '0'
            truncated += touches
        objects += len(found)
        background = [scene.things[number - FIRST_THING].shape for number in np.unique(numbers[ids == 0]) if number >= FIRST_THING]
        assert not {*background} & {*scenes.KINDS}
    assert objects > 4 and truncated
    assert Image.open(tmp_path / f'SegmentationClass/{names[0]}.png').getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_voc_lists_name_its_images_and_the_data_set_reads_them(tmp_path):
    names = {split: [voc.write(tmp_path, np.random.default_rng(9), split, index) for index in range(count)]
             for split, count in (('train', 2), ('val', 1))}
    voc.write_lists(tmp_path, names)
    for task in ('Main', 'Segmentation'):
        lists = {path.stem: path.read_text().split() for path in (tmp_path / 'ImageSets' / task).iterdir()}
        assert lists == dict(train=['2011_000001', '2011_000002'], trainaug=['2011_000001', '2011_000002'], val=['2012_000001'],
                             trainval=['2011_000001', '2011_000002', '2012_000001'])
    assert (tmp_path / 'classes.txt').read_text().split() == ['background', 'ball', 'crate', 'cone', 'drum', 'jack']
    dataset = VOCInstances(str(tmp_path), split='trainval', size=32)
    assert len(dataset) == 3 and dataset[2]['image'].shape == (3, 32, 32)


def test_a_salient_thing_has_a_mask_of_black_and_white(tmp_path):
    for index in range(3):
        saliency.write(tmp_path, np.random.default_rng(index), 'val', index)
    for index in range(3):
        numbers = render(scenes.photo(np.random.default_rng(index), index), *SCENE_SIZE)[1]
        mask = Image.open(tmp_path / f'ground_truth_mask/{index + 1:04d}.png')
        assert mask.mode == 'L' and np.array_equal(np.array(mask), 255 * (numbers == FIRST_THING))
        assert Image.open(tmp_path / f'images/{index + 1:04d}.jpg').size == SCENE_SIZE == mask.size


@pytest.mark.parametrize('action', figures.ACTIONS)
def test_joints_are_fixed_points_of_limbs_that_move(action):
    clip = figures.performance(np.random.default_rng(4), 6, action)
    local, places, shown = [], [], 0
    for scene, (limbs, ) in clip:
        joints = figures.joints_of(limbs)
        geometry, places_now = look(scene, 480, 360), project(scene.camera, joints, 480, 360)
        seen = visible(scene, joints)
        for (limb, _), joint, place, shows in zip(figures.JOINTS.values(), joints, places_now, seen):
            column, row = place.astype(int)
            if shows and 1 <= column < 479 and 1 <= row < 359:
                apart = np.linalg.norm(geometry.points[:, row - 1:row + 2, column - 1:column + 2] - joint[:, None, None], axis=0)
                near = geometry.surface[row - 1:row + 2, column - 1:column + 2] == FIRST_THING + list(limbs).index(limb)
                assert near.any() and apart.min() < .06
        shown += seen.mean() / len(clip)
        local.append([limbs[limb].rotation.T @ (joint - limbs[limb].position) / limbs[limb].scale
                      for (limb, _), joint in zip(figures.JOINTS.values(), joints)])
        places.append(places_now)
    assert np.ptp(local, axis=0).max() < 1e-9
    assert np.ptp(places, axis=0).max() > 20 and shown > .8
    lowest = [min(limb.bounds()[0, 2] for limb in limbs.values()) for _, (limbs, ) in clip]
    assert max(lowest) > .1 if action == 'jump' else lowest == pytest.approx([0] * len(clip), abs=1e-9)


def test_jhmdb_places_count_from_one_and_lists_say_what_to_test_on(tmp_path):
    clips = {split: [jhmdb.write(tmp_path, np.random.default_rng(index), split, index, 2) for index in range(count)]
             for split, count in (('train', 1), ('val', 2))}
    jhmdb.write_lists(tmp_path, clips)
    assert {path.name: path.read_text() for path in (tmp_path / 'splits').iterdir()} == {
        'walk_test_split1.txt': 'walk_train_000.avi 1\nwalk_val_000.avi 2\n', 'wave_test_split1.txt': 'wave_val_001.avi 2\n'}
    places = scipy.io.loadmat(tmp_path / 'joint_positions/wave/wave_val_001/joint_positions.mat')['pos_img']
    assert places.shape == (2, 15, 2)
    assert [path.name for path in sorted((tmp_path / 'Rename_Images/wave/wave_val_001').iterdir())] == ['00001.png', '00002.png']
    scene, (limbs, ) = figures.performance(np.random.default_rng(1), 2, 'wave')[1]
    assert places[:, :, 1] - .5 == pytest.approx(project(scene.camera, figures.joints_of(limbs), *SCENE_SIZE).T)
    # Who waves lifts the right arm, which is on the left of the image.
    joints = dict(zip(figures.JOINTS, places[:, :, 1].T))
    assert joints['right wrist'][1] < joints['right shoulder'][1] < joints['right hip'][1] < joints['right ankle'][1]
    assert joints['right shoulder'][0] < joints['left shoulder'][0]
    assert list(figures.JOINTS)[:5] == ['neck', 'belly', 'face', 'right shoulder', 'left shoulder']
    assert list(figures.JOINTS)[-2:] == ['right ankle', 'left ankle']


def test_vip_masks_have_the_parts_of_the_figures(tmp_path):
    names = [vip.write(tmp_path, np.random.default_rng(index), 'val', index, 2) for index in range(2)]
    vip.write_lists(tmp_path, dict(train=[], val=names))
    assert (tmp_path / 'lists/val_videos.txt').read_text().split() == names == ['videos501', 'videos502']
    for count, name in enumerate(names, 1):
        masks = sorted((tmp_path / 'Annotations/Category_ids' / name).iterdir())
        assert [path.stem for path in masks] == [path.stem for path in sorted((tmp_path / 'Images' / name).iterdir())]
        for number, path in enumerate(masks):
            labels = load(path)
            scene, _ = figures.performance(np.random.default_rng(count - 1), 2, figures.ACTIONS[count - 1], count)[number]
            surface = render(scene, *SCENE_SIZE)[1]
            expected = np.zeros_like(labels)
            for figure in range(count):
                for i, limb in enumerate(figures.LIMBS.values()):
                    expected[surface == FIRST_THING + figure * len(figures.LIMBS) + i] = vip.CLASSES.index(limb.part)
            assert np.array_equal(labels, expected) and Image.open(path).mode == 'P'
            present = {vip.CLASSES[label] for label in np.unique(labels)}
            assert {'background', 'hat', 'face', 'upper clothes', 'pants', 'left arm', 'right arm'} <= present
    assert len(vip.CLASSES) == 20


def test_two_views_of_a_class_show_the_same_point_of_the_thing_at_a_keypoint(tmp_path, calls):
    made = calls(scenes, 'specimen')
    images, found = [], []
    for seed in range(4):
        images.append(spair.write(tmp_path, np.random.default_rng(seed), 'test', 10 * seed + 5))
        scene = made[0][0]
        geometry = look(scene, 4 * SCENE_SIZE[0], 4 * SCENE_SIZE[1])
        thing = scene.things[0]
        local = {}
        for name, place in images[-1]['kps'].items():
            if place is not None:
                column, row = (4 * (np.array(place) + .5)).astype(int)
                window = slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3)
                point = surface_points(thing, spair.directions()[[int(name)]])[0]
                apart = np.linalg.norm(geometry.points[(slice(None), *window)] - point[:, None, None], axis=0)
                apart[geometry.surface[window] != FIRST_THING] = np.inf
                nearest = np.unravel_index(apart.argmin(), apart.shape)
                point = geometry.points[(slice(None), *window)][(slice(None), *nearest)]
                local[name] = thing.rotation.T @ (point - thing.position) / thing.scale
        found.append(local)
    spair.write_lists(tmp_path, dict(train=[], val=[], test=images))
    names = (tmp_path / 'Layout/large/test.txt').read_text().split()
    assert len(names) == len({*names}) and (tmp_path / 'Layout/large/trn.txt').read_text() == ''
    assert {path.stem for path in (tmp_path / 'PairAnnotation/test').iterdir()} == {*names}
    shared = 0
    for name in names:
        pair = json.loads((tmp_path / f'PairAnnotation/test/{name}.json').read_text())
        source, target = ([image['filename'] for image in images].index(pair[key]) for key in ('src_imname', 'trg_imname'))
        assert source != target and pair['category'] == images[source]['category'] == name.partition(':')[2]
        assert pair['src_bndbox'] == images[source]['bndbox'] and pair['trg_bndbox'] == images[target]['bndbox']
        for i, place, other in zip(pair['kps_ids'], pair['src_kps'], pair['trg_kps'], strict=True):
            assert (place, other) == (images[source]['kps'][i], images[target]['kps'][i])
            assert found[source][i] == pytest.approx(found[target][i], abs=.08)
            shared += 1
        turn = abs(images[source]['azimuth'] - images[target]['azimuth'])
        assert pair['viewpoint_variation'] == (0 if turn <= np.pi / 6 else 1 if turn <= np.pi / 3 else 2)
        assert Image.open(tmp_path / f'JPEGImages/{pair["category"]}/{pair["src_imname"]}').size == tuple(pair['src_imsize'][:2])
        assert json.loads((tmp_path / f'ImageAnnotation/{pair["category"]}/{pair["src_imname"][:-4]}.json').read_text()) == images[source]
    assert shared > 10


def test_nyu_depth_is_in_millimetres_along_the_axis_and_zero_where_it_is_unknown(tmp_path):
    lines = {split: [nyu.write(tmp_path, np.random.default_rng(index), split, index) for index in range(2)] for split in ('train', 'val')}
    nyu.write_lists(tmp_path, lines)
    for split, folder, slash in (('train', 'sync', '/'), ('test', 'official_splits/test', '')):
        for index, line in enumerate((tmp_path / f'nyudepthv2_{split}_files_with_gt.txt').read_text().splitlines()):
            image, depth, focal = line.split()
            assert image.startswith(slash) and float(focal) == pytest.approx(518.8579 / 4, abs=1e-3)
            picture, stored = (Image.open(tmp_path / folder / name.removeprefix('/')) for name in (image, depth))
            assert picture.size == stored.size == nyu.SIZE and picture.mode == 'RGB' and stored.mode.startswith('I')
            scene = scenes.yard(np.random.default_rng(index))
            surface, values = look(scene, *nyu.SIZE).surface, np.array(stored) / 1000
            assert (values[surface == SKY] == 0).all() and 0 < values.max() <= 10 and (values > 0).mean() > .4
            # The ground is a plane: where a ray comes down to height 0.
            rows, columns = np.nonzero((surface > SKY) & (surface < FIRST_THING))
            rays = scene.camera.axes.T @ np.stack([(columns + .5 - 80) / float(focal), (rows + .5 - 60) / float(focal), 1 + 0 * rows])
            depths = .5 * scene.camera.position[2] / -rays[2]
            known = depths < 9.99
            assert values[rows, columns][known] == pytest.approx(depths[known], abs=2e-3)
            assert (values[rows, columns][depths > 10.01] == 0).all()
