from __future__ import annotations

import filecmp
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy.ndimage import binary_dilation
from torchvision.datasets import ImageFolder

from mmdssl.datasets.sample_world import make_sample_world, scenes, writers
from mmdssl.datasets.sample_world.files import SCENE_SIZE
from mmdssl.datasets.sample_world.render import (
    _INTERVAL,
    _SUPPORT,
    FIRST_THING,
    GROUND,
    SHAPES,
    SKY,
    Camera,
    Scene,
    Thing,
    _normal,
    look,
    project,
    render,
    surface_points,
    visible,
)
from mmdssl.errors import InputError

SMALL = dict(train=20, val=10, size=32, coco=(8, 6), ade20k=(3, 2), clips=(1, 2), frames=8)
DENSE = dict(voc=(2, 1), saliency=1, jhmdb=(1, 1), vip=(0, 1), spair=(0, 0, 11), nyu=(1, 1))
TOOL = Path(__file__).parents[2] / 'tools/make_sample_world.py'

INSIDE = dict(
    ball=lambda x: (x**2).sum(0) < 1,
    box=lambda x: np.abs(x).max(0) < 1,
    cylinder=lambda x: (np.hypot(x[0], x[1]) < 1) & (np.abs(x[2]) < 1),
    cone=lambda x: (np.hypot(x[0], x[1]) < (1 - x[2]) / 2) & (np.abs(x[2]) < 1),
)


@pytest.fixture(scope='module')
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('sample') / 'world'
    make_sample_world(root, workers=1, **SMALL, **DENSE)
    return root


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())


def load(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_tool_with_two_workers_writes_the_same_bytes(world, tmp_path):
    options = shlex.split('--train 20 --val 10 --size 32 --coco 8 6 --ade20k 3 2 --clips 1 2 --frames 8 --voc 2 1 '
                          '--saliency 1 --jhmdb 1 1 --vip 0 1 --spair 0 0 11 --nyu 1 1 --workers 2')
    subprocess.run([sys.executable, TOOL, tmp_path / 'again', *options], check=True,
                   env={**os.environ, 'OMP_NUM_THREADS': '2'})
    assert files(world) == files(tmp_path / 'again')
    assert filecmp.cmpfiles(world, tmp_path / 'again', files(world), shallow=False)[1:] == ([], [])


def test_an_item_does_not_depend_on_how_many_there_are_but_on_the_seed(world, tmp_path):
    few = dict(SMALL, val=10, train=10, coco=(1, 1), ade20k=(1, 1), clips=(1, 1), voc=(1, 1), saliency=1, spair=(0, 0, 1), nyu=(1, 1))
    make_sample_world(tmp_path / 'few', **few)
    make_sample_world(tmp_path / 'other', seed=1, **few)
    pictures = [name for name in files(tmp_path / 'few') if name.endswith(('jpg', 'png'))]
    assert not filecmp.cmpfiles(world, tmp_path / 'few', pictures, shallow=False)[1]
    assert not filecmp.cmpfiles(world, tmp_path / 'other', pictures, shallow=False)[0]


def test_a_complete_world_is_left_alone_and_anything_else_is_not_touched(world, capsys):
    before = (world / 'world.json').stat().st_mtime_ns
    make_sample_world(world, **SMALL, **DENSE)
    assert 'already' in capsys.readouterr().out
    assert (world / 'world.json').stat().st_mtime_ns == before
    with pytest.raises(InputError, match='something else'):
        make_sample_world(world, **dict(SMALL, seed=1))
    with pytest.raises(InputError, match='something else'):
        make_sample_world(world, **SMALL)
    with pytest.raises(InputError, match='train=3: .* at least 10'):
        make_sample_world(world, **dict(SMALL, train=3))


def test_parts_of_no_items_are_not_written_and_change_no_other(world, tmp_path):
    make_sample_world(tmp_path / 'bare', **SMALL)
    assert {path.name for path in world.iterdir()} - {path.name for path in (tmp_path / 'bare').iterdir()} == {*DENSE}
    assert set(json.loads((world / 'world.json').read_text())) - set(json.loads((tmp_path / 'bare/world.json').read_text())) == {*DENSE}
    other = [name for name in files(tmp_path / 'bare') if name != 'world.json']
    assert filecmp.cmpfiles(world, tmp_path / 'bare', other, shallow=False)[1:] == ([], [])


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writers, '_write_lists', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_sample_world(tmp_path / 'world', **dict(SMALL, train=10, coco=(0, 0), ade20k=(0, 0), clips=(0, 0)))
    assert not list(tmp_path.iterdir())


def test_imagenet_loads_as_class_folders_some_files_gray(world):
    for split, number in (('train', 20), ('val', 10)):
        folder = ImageFolder(world / 'imagenet' / split)
        assert len(folder) == number and len(folder.classes) == 10
        assert np.bincount(folder.targets).tolist() == [number // 10] * 10
        assert folder[0][0].size == (32, 32)
    modes = {Image.open(path).mode for path in (world / 'imagenet').rglob('*.jpg')}
    assert modes == {'RGB', 'L'}


def test_mean_color_is_a_hint_of_the_class_and_no_more():
    def mean_colors(number, start):
        return np.array([render(scenes.photo(np.random.default_rng(start + index), index % 10), 24, 24)[0].mean((0, 1))
                         for index in range(number)])

    train, val = mean_colors(200, 0), mean_colors(100, 1000)
    centroids = train.reshape(20, 10, 3).mean(0)
    nearest = np.linalg.norm(val[:, None] - centroids, axis=-1).argmin(1)
    assert .15 < (nearest == np.arange(100) % 10).mean() < .5


def test_class_is_shape_and_pattern_of_a_large_thing_in_the_middle():
    for part in (0, 1):
        assert sorted(np.unique([names[part] for names in scenes.CLASSES], return_counts=True)[1]) == [2] * 5
    shares = []
    for label, (shape, pattern) in enumerate(scenes.CLASSES * 3):
        scene = scenes.photo(np.random.default_rng(label), label % 10)
        assert (scene.things[0].shape, scene.things[0].pattern) == (shape, pattern)
        shares.append((render(scene, 32, 32)[1] == FIRST_THING).mean())
    assert min(shares) > .04 and np.mean(shares) > .2


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco_boxes_and_areas_are_those_of_the_masks(world, split):
    coco = COCO(world / f'coco/annotations/instances_{split}2017.json')
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(scenes.KINDS)
    crowds = 0
    for image in coco.imgs.values():
        assert Image.open(world / f'coco/{split}2017' / image['file_name']).size == (image['width'], image['height'])
        annotations = coco.imgToAnns[image['id']]
        masks = [coco.annToMask(annotation) for annotation in annotations]
        assert not masks or np.sum(masks, axis=0).max() == 1
        for annotation, mask in zip(annotations, masks):
            box = coco_mask.toBbox(coco.annToRLE(annotation))
            assert annotation['area'] == mask.sum() and annotation['bbox'] == box.tolist()
            assert isinstance(annotation['segmentation'], dict if annotation['iscrowd'] else list)
            crowds += annotation['iscrowd']
    assert crowds and any(not coco.imgToAnns[image] for image in coco.imgs)


def test_polygons_of_any_mask_decode_to_the_mask():
    rng = np.random.default_rng(0)
    for density in (.3, .6, .9):
        mask = rng.random((20, 30)) < density
        decoded = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(writers.polygons(mask), *mask.shape)))
        assert np.array_equal(decoded, mask)
    bar = np.ones((9, 12), bool)
    bar[:, 5] = False
    assert len(writers.polygons(bar)) == 2


def test_coco_masks_are_what_the_rendering_shows(world):
    coco = COCO(world / 'coco/annotations/instances_train2017.json')
    rng = np.random.default_rng([0, 1, 0, 0])
    scene = scenes.gathering(rng, rng.integers(5, 14), False)
    image, numbers = render(scene, *SCENE_SIZE)
    stored = load(world / 'coco/train2017' / coco.imgs[1]['file_name'])
    assert np.abs(stored.astype(int) - image).mean() < 6
    shown = {(scene.things[number - FIRST_THING].shape, int((numbers == number).sum())) for number in np.unique(numbers)
             if number >= FIRST_THING}
    for annotation in coco.imgToAnns[1]:
        assert (scenes.KINDS[annotation['category_id'] - 1], annotation['area']) in shown


def test_ade20k_labels_are_in_range_and_name_grounds_and_shapes(world):
    names = (world / 'ade20k/classes.txt').read_text().split()
    labels = sorted((world / 'ade20k/annotations').rglob('*.png'))
    images = sorted((world / 'ade20k/images').rglob('*.jpg'))
    assert [path.stem for path in labels] == [path.stem for path in images] and len(labels) == 5
    seen = set()
    for label, image in zip(labels, images):
        assert Image.open(label).mode == 'L' and Image.open(label).size == Image.open(image).size
        seen |= {names[value - 1] if value else 'other' for value in np.unique(load(label))}
    assert {'other', *scenes.KINDS} <= seen and seen & {'grass', 'sand', 'tiles', 'planks', 'pebbles'}


def test_davis_masks_have_palette_and_ids_and_one_object_leaves(world):
    assert (world / 'davis/ImageSets/2017/val.txt').read_text() == 'val-00\nval-01\n'
    last = {}
    for sequence in ('val-00', 'val-01'):
        masks = sorted((world / 'davis/Annotations/480p' / sequence).iterdir())
        frames = sorted((world / 'davis/JPEGImages/480p' / sequence).iterdir())
        assert [path.name for path in masks] == [f'{number:05d}.png' for number in range(8)]
        assert [path.name for path in frames] == [f'{number:05d}.jpg' for number in range(8)]
        ids = np.unique(load(masks[0]))
        assert ids.tolist() == list(range(len(ids))) and len(ids) >= 3
        for path in masks:
            mask = Image.open(path)
            assert mask.mode == 'P' and set(np.unique(mask)) <= set(ids)
            assert mask.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        last[sequence] = set(ids) - set(np.unique(load(masks[-1])))
    assert last == {'val-00': set(), 'val-01': {1}}


def test_objects_of_a_clip_move_and_hide_one_another():
    for start in range(3):
        clip = scenes.clip(np.random.default_rng(start), 8, False)
        objects = [number for number, thing in enumerate(clip[0].things) if thing.shape in scenes.KINDS]
        hidden, places = [], []
        for scene in clip:
            numbers = render(scene, 96, 56)[1]
            for number in objects:
                alone = render(replace(scene, things=[scene.things[number]]), 96, 56)[1] == FIRST_THING
                hidden.append(1 - (numbers == FIRST_THING + number).sum() / alone.sum())
                places.append(np.argwhere(alone).mean(0)[1])
        assert max(hidden) > .3
        assert np.ptp(np.reshape(places, (8, -1)), axis=0).min() > 10


@pytest.mark.parametrize('primitive', INSIDE)
def test_rays_enter_and_leave_a_primitive_where_marching_finds_its_inside(primitive):
    rng = np.random.default_rng(0)
    start, target = rng.uniform(-4, 4, (3, 400)), rng.uniform(-.8, .8, (3, 400))
    ray = target - start
    steps = np.linspace(-1, 3, 4001)
    with np.errstate(all='ignore'):
        near, far = _INTERVAL[primitive](start, ray)
    for index in range(400):
        inside = steps[INSIDE[primitive](start[:, [index]] + steps * ray[:, [index]])]
        if len(inside):
            assert (near[index], far[index]) == pytest.approx((inside[0], inside[-1]), abs=2e-3)
        else:
            assert not near[index] < far[index] - 2e-3


@pytest.mark.parametrize('primitive', INSIDE)
def test_normals_point_out_and_the_support_bounds_the_primitive(primitive):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (3, 200000))
    points = points[:, INSIDE[primitive](points)]
    for direction in rng.standard_normal((20, 3)):
        support = _SUPPORT[primitive](direction)
        assert 0 <= support - (direction @ points).max() < .1 * np.linalg.norm(direction)
    inner, ray = rng.uniform(-.2, .2, (3, 500)), rng.standard_normal((3, 500))
    with np.errstate(all='ignore'):
        surface = inner + _INTERVAL[primitive](inner, ray)[1] * ray
    outward = _normal(primitive, surface)
    outward = .02 * outward / np.linalg.norm(outward, axis=0)
    assert INSIDE[primitive](surface - outward).mean() > .95
    assert not INSIDE[primitive](surface + outward).any()


@pytest.fixture
def ball() -> Scene:
    """A ball of radius 0.9 that hovers at height 2, seen from above against plain ground, the sun towards +x."""
    thing = Thing('ball', 'spotted', np.ones((2, 3)), rotation=np.eye(3), scale=np.ones(3), grain=np.eye(3),
                  offset=np.zeros(3), gloss=0., position=np.array([0, 0, 2.]))
    camera = Camera(np.array([0, 0, 9.]), np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1.]]), 1.)
    return Scene([thing], camera, ('sand', 'sand'), np.full((2, 2, 3), .2), np.eye(2), (0, 0, 0), np.array([.6, 0, .8]),
                 np.ones((3, 3)), 1.)


def test_a_ball_looks_as_large_as_the_pinhole_says(ball):
    area = (render(ball, 128, 128)[1] == FIRST_THING).sum()
    assert area == pytest.approx(np.pi * (128 * np.tan(np.arcsin(.9 / 7)))**2, rel=.02)


def test_a_ball_darkens_the_ground_opposite_the_sun_only(ball):
    image, numbers = render(ball, 128, 128)
    bare = render(replace(ball, things=[]), 128, 128)[0]
    away = ~binary_dilation(numbers == FIRST_THING)
    change = away * (image.astype(int) - bare).sum(-1)
    assert change.max() == 0
    rows, columns = np.nonzero(change < -60)
    # The center's shadow falls 2 * .6 / .8 aside; the shadow is an ellipse, .9 / .8 long and .9 wide, 9 below the eye.
    assert columns.min() == pytest.approx(64 - 128 * (1.5 + 1.125) / 9, abs=2)
    assert np.ptp(rows) == pytest.approx(2 * 128 * .9 / 9, abs=3)


def test_depth_and_surfaces_are_where_marching_along_rays_finds_things():
    width, height, rng = 24, 18, np.random.default_rng(3)
    scene = scenes.yard(rng)
    geometry = look(scene, width, height)
    steps = np.arange(0, 24, .003)
    seen = set()
    for row, column in rng.integers(0, (height, width), (60, 2)):
        camera = scene.camera
        ray = np.array([(column + .5 - width / 2) / (height * camera.focal), (row + .5 - height / 2) / (height * camera.focal), 1])
        points = camera.position[:, None] + steps * (camera.axes.T @ ray)[:, None]
        inside = {GROUND: points[2] < 0}
        for number, thing in enumerate(scene.things, FIRST_THING):
            local = (thing.rotation.T @ (points - thing.position[:, None])) / thing.scale[:, None]
            for part, (primitive, size, offset) in enumerate(SHAPES[thing.shape]):
                inside[number, part] = INSIDE[primitive]((local - np.array(offset)[:, None]) / np.array(size)[:, None])
        first = {key: np.argmax(mask) for key, mask in inside.items() if mask.any()}
        found = min(first, key=first.get, default=SKY)
        surface, part = geometry.surface[row, column], geometry.part[row, column]
        seen.add(found if np.isscalar(found) else 'thing')
        if found == SKY:
            assert surface == SKY or geometry.depth[row, column] > 23.9
            continue
        assert (min(surface, GROUND) if found == GROUND else (surface, part)) == found
        depth = steps[first[found]]
        assert geometry.depth[row, column] == pytest.approx(depth, abs=.004)
        assert geometry.points[:, row, column] == pytest.approx(points[:, first[found]], abs=.01)
    assert seen == {SKY, GROUND, 'thing'}


def test_an_image_shows_the_surfaces_that_are_measured():
    scene = scenes.gathering(np.random.default_rng(1), 8, False)
    drawn, measured = render(scene, 96, 72)[1], look(scene, 96, 72).surface
    assert .97 < (drawn == measured).mean() <= 1


@pytest.mark.parametrize('shape', SHAPES)
def test_named_points_of_a_thing_lie_on_its_surface_however_it_is_turned(shape):
    directions = np.random.default_rng(0).standard_normal((100, 3))
    for seed in (0, 1):
        thing = scenes.random_thing(np.random.default_rng(seed), np.array([2, 3]), .7, shape)
        local = ((surface_points(thing, directions) - thing.position) @ thing.rotation / thing.scale).T

        def inside(x):
            return np.any([INSIDE[primitive](x / np.array(size)[:, None]) for primitive, size, _ in SHAPES[shape]], axis=0)

        assert inside(.999 * local).all() and not inside(1.001 * local).any()
        assert np.cross(local.T, directions) == pytest.approx(0, abs=1e-9)


def test_points_appear_where_the_pinhole_says_and_things_hide_them(ball):
    # On the ball: towards the eye, 45 degrees aside, away from it; on the ground: below the ball, aside.
    points = np.array([[0, 0, 2.9], [.9 * .5**.5, 0, 2 + .9 * .5**.5], [0, 0, 1.1], [.5, 0, 0], [2, -1, 0]])
    assert visible(ball, points).tolist() == [True, True, False, False, True]
    places = project(ball.camera, points, 128, 64)
    assert places[0] == pytest.approx([64, 32])
    assert places[4] == pytest.approx([64 + 64 * 2 / 9, 32 + 64 * 1 / 9])
    geometry = look(ball, 129, 65)
    assert geometry.depth[32, 64] == pytest.approx(9 - 2.9) and geometry.surface[32, 64] == FIRST_THING
    assert geometry.points[:, 32, 64] == pytest.approx([0, 0, 2.9], abs=1e-5)
