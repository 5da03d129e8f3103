"""Keypoints of SPair-71k: the data, both rules against loops, known answers, and a run from the command line."""
from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdssl.datasets import SPair
from mmdssl.datasets.spair import Pair
from mmdssl.engine.config_check import check_config
from mmdssl.errors import InputError
from mmdssl.protocols import Correspondence, CorrespondenceMetric
from mmdssl.protocols.correspondence import Errors, match_errors

SIZES = dict(a=(60, 40), b=(30, 50), c=(48, 48))


def pair_of(category: str, source: str, target: str, points: list, found: list, viewpoint: int = 0) -> dict:
    return dict(category=category, src_imname=f'{source}.jpg', trg_imname=f'{target}.jpg', src_imsize=[*SIZES[source], 3],
                trg_imsize=[*SIZES[target], 3], src_bndbox=[2, 2, 20, 25], trg_bndbox=[3, 5, 23, 29], src_kps=points, trg_kps=found,
                viewpoint_variation=viewpoint)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three images of birds and of cats, and all pairs of different ones, with two or three keypoints."""
    folder, draw = tmp_path / 'SPair-71k', random.Random(0)
    for name in ('Layout/large', 'PairAnnotation/test', 'JPEGImages/bird', 'JPEGImages/cat'):
        (folder / name).mkdir(parents=True)
    names = []
    for category in ('cat', 'bird'):
        for image, size in SIZES.items():
            pixels = np.random.default_rng(ord(image) + len(category)).integers(0, 255, (*size[::-1], 3), np.uint8)
            Image.fromarray(pixels).save(folder / f'JPEGImages/{category}/{image}.jpg')
        for i, (source, target) in enumerate((s, t) for s in SIZES for t in SIZES if s != t):
            points, found = ([[draw.randrange(side) for side in SIZES[image]] for _ in range(2 + i % 2)] for image in (source, target))
            names.append(f'{len(names):06}-{source}-{target}:{category}')
            (folder / f'PairAnnotation/test/{names[-1]}.json').write_text(json.dumps(
                pair_of(category, source, target, points, found, i % 3)))
    (folder / 'Layout/large/test.txt').write_text('\n'.join(reversed(names)))
    return folder


def change(root: Path, **values) -> None:
    """The annotation of the first pair."""
    file = min((root / 'PairAnnotation/test').iterdir())
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_an_item_is_a_class_whose_images_are_padded_with_white(root):
    dataset = SPair(str(root), size=120)
    assert [dataset.get_data_info(i)['name'] for i in range(len(dataset))] == ['bird', 'cat']
    item = dataset[1]
    assert item['images'].shape == (3, 3, 120, 120) and len(item['pairs']) == 6
    assert [pair.name for pair in item['pairs']] == [f'{i:06}-{s}-{t}:cat' for i, (s, t) in enumerate(
        (s, t) for s in SIZES for t in SIZES if s != t)]
    first = item['pairs'][0]
    assert (first.source, first.target, first.source_side, first.target_side, first.box_side) == (0, 1, 60, 50, 24)
    assert (item['images'][0, :, 85:] == 255).all() and (item['images'][1, :, :, 77:] == 255).all()
    image = np.array(Image.open(root / 'JPEGImages/cat/a.jpg'))
    square = np.full((60, 60, 3), 255, np.uint8)
    square[:40] = image
    wanted = Image.fromarray(square).resize((120, 120), Image.Resampling.BICUBIC)
    assert torch.equal(item['images'][0], torch.from_numpy(np.array(wanted)).permute(2, 0, 1))


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """A map ``(h, w, D)`` between its cells, whose centres are whole numbers, and at its edges beyond them."""
    height, width = image.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    along, down = x - left, y - top
    return ((image[top, left] * (1 - along) + image[top, left + 1] * along) * (1 - down)
            + (image[top + 1, left] * (1 - along) + image[top + 1, left + 1] * along) * down)


def slow_errors(source: np.ndarray, target: np.ndarray, pair: Pair, size: int, probe3d: bool) -> list[float]:
    """With maps ``(h, h, D)``, point by point and patch by patch."""
    cells, errors = len(source), []
    for (x, y), (true_x, true_y) in zip(pair.source_points, pair.target_points):
        if probe3d:
            u, v = (int(value * size / pair.source_side) / size * (cells - 1) for value in (x, y))
            true_u, true_v = (int(value * size / pair.target_side) / size for value in (true_x, true_y))
        else:
            u, v = (value / pair.source_side * cells - 0.5 for value in (x, y))
            true_u, true_v = (value / pair.target_side for value in (true_x, true_y))
        feature, best = bilinear(source, u, v), (-math.inf, 0, 0)
        for row in range(cells):
            for column in range(cells):
                best = max(best, (float(feature @ target[row, column]), row, column), key=lambda entry: entry[0])
        offset = 0 if probe3d else 0.5
        distance = math.hypot((best[2] + offset) / cells - true_u, (best[1] + offset) / cells - true_v)
        errors.append(distance / (pair.box_side / pair.target_side))
    return errors


def test_both_rules_equal_loops():
    draw = np.random.default_rng(0)
    for _ in range(20):
        cells, size = int(draw.integers(2, 8)), 56
        maps = draw.normal(size=(2, cells, cells, 5))
        maps /= np.linalg.norm(maps, axis=-1, keepdims=True)
        pair = Pair('x', 0, 1, draw.integers(0, 61, (4, 2)).astype(float), draw.integers(0, 51, (4, 2)).astype(float), 60, 50, 17., 1)
        found = match_errors(*torch.from_numpy(maps).permute(0, 3, 1, 2), pair, size)
        assert found.viewpoint == 1
        assert found.probe3d == pytest.approx(slow_errors(*maps, pair, size, True))
        assert found.exact == pytest.approx(slow_errors(*maps, pair, size, False))


class Painted(torch.nn.Module):
    """A backbone that reads the features of its patches, one pixel each, off the image."""
    patch_size = 1
    num_blocks = 1

    def __init__(self, read):
        super().__init__()
        self.read = read
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def intermediates(self, images, blocks, facet, norm):
        return [(None, self.read(images).flatten(2).mT)]


SIZE, OBJECT = 24, 12


def moved_objects() -> tuple[torch.Tensor, list[Pair]]:
    """25 images of an object moved about, whose pixels tell which part of its surface they show, and all pairs of them."""
    draw, corners = random.Random(0), []
    images = torch.zeros(25, 3, SIZE, SIZE, dtype=torch.uint8)
    for image in images:
        x, y = (draw.choice([0, draw.randrange(SIZE - OBJECT)]) for _ in range(2))
        image[0, y:y + OBJECT, x:x + OBJECT] = torch.arange(1, OBJECT + 1)
        image[1, y:y + OBJECT, x:x + OBJECT] = torch.arange(1, OBJECT + 1)[:, None]
        corners.append((x, y))
    pairs = []
    for i, j in ((i, j) for i in range(25) for j in range(25) if i != j):
        places = [(draw.randrange(OBJECT) + 0.5, draw.randrange(OBJECT) + 0.5) for _ in range(4)]  # the centres of pixels
        points = [np.array([(x + dx, y + dy) for dx, dy in places]) for x, y in (corners[i], corners[j])]
        pairs.append(Pair(f'{i}-{j}', i, j, *points, SIZE, SIZE, float(OBJECT), (i + j) % 3))
    return images, pairs


def evaluate(read, alpha: float = 0.1) -> dict[str, float]:
    """Of a backbone that reads features off :func:`moved_objects`."""
    model = Correspondence(dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=8, depth=1, num_heads=1)))
    model.backbone = Painted(read)
    model.data_preprocessor.mean.zero_()
    model.data_preprocessor.std.fill_(1)
    images, pairs = moved_objects()
    metric = CorrespondenceMetric(alpha)
    metric.process([], model([dict(name='object', images=images, pairs=pairs)]))
    return metric.compute_metrics(metric.results)


def one_hot(images: torch.Tensor) -> torch.Tensor:
    """A direction of its own for each part of the surface."""
    parts = (images[:, 0] * 13 + images[:, 1]).long()
    return torch.nn.functional.one_hot(parts, 13 * 13).float().permute(0, 3, 1, 2)


def test_the_coordinates_of_the_surface_find_every_point():
    found = evaluate(one_hot)
    assert found['PCK_image'] == found['PCK_point'] == 100
    # probe3d looks up to a patch beside the point, which is here nearly as large as what is right
    assert 70 < found['PCK_probe3d'] < 100, found
    assert evaluate(one_hot, 0.2)['PCK_probe3d'] > 98  # but for what it reads half of the object and half of the background


def test_constant_features_find_what_is_near_the_first_patch():
    near = [math.hypot(x - 0.5, y - 0.5) <= 0.1 * OBJECT for pair in moved_objects()[1] for x, y in pair.target_points]
    found = evaluate(torch.ones_like)
    assert found['PCK_point'] == found['PCK_image'] == pytest.approx(100 * sum(near) / len(near)) and sum(near) > 5


def test_random_features_find_what_chance_does():
    """A target is one of the pixels around it, without those beyond the edges."""
    pixels = [(x, y) for x in range(SIZE) for y in range(SIZE)]
    chance = [sum(math.hypot(x + 0.5 - u, y + 0.5 - v) <= 0.1 * OBJECT for x, y in pixels) / SIZE**2
              for pair in moved_objects()[1][:60] for u, v in pair.target_points]
    draw = torch.Generator().manual_seed(0)
    found = evaluate(lambda images: torch.randn(len(images), 16, SIZE, SIZE, generator=draw))
    assert found['PCK_point'] == pytest.approx(100 * sum(chance) / len(chance), abs=0.5)


def test_constant_features_match_the_corner():
    pair = Pair('x', 0, 1, np.array([[5., 5.]] * 4), np.array([[0., 0.], [1., 1.], [4., 0.], [9., 9.]]), 10, 10, 10., 0)
    errors = match_errors(torch.ones(1, 5, 5), torch.ones(1, 5, 5), pair, 10)
    assert errors.probe3d == pytest.approx([0, 2**0.5 / 10, 0.4, 0.9 * 2**0.5]) and errors.exact[1] == pytest.approx(0)


def test_rules_choose_and_average_as_they_say():
    draw = np.random.default_rng(0)
    classes = [[Errors(int(draw.integers(0, 3)), *draw.random((2, int(draw.integers(1, 6)))) * 0.2) for _ in range(number)]
               for number in (5, 30)]
    classes[0] = [replace(errors, viewpoint=1) for errors in classes[0]]
    found = CorrespondenceMetric(pairs_per_class=8).compute_metrics(classes)

    def probe3d(viewpoint: int | None) -> float:
        recalls = []
        for pairs in classes:
            chosen = [pair for pair in pairs if viewpoint is None or pair.viewpoint == viewpoint]
            random.seed(20)
            random.shuffle(chosen)
            points = [error for pair in chosen[:8] for error in pair.probe3d]
            if points:
                recalls.append(sum(error < 0.1 for error in points) / len(points))
        return 100 * sum(recalls) / len(recalls)
    assert [found['PCK_probe3d'], *(found[f'PCK_probe3d_view{i}'] for i in range(3))] == pytest.approx(
        [probe3d(None), probe3d(0), probe3d(1), probe3d(2)])
    every = [[error <= 0.1 for error in pair.exact] for pairs in classes for pair in pairs]
    assert found['PCK_image'] == pytest.approx(100 * sum(sum(pair) / len(pair) for pair in every) / 35)
    assert found['PCK_point'] == pytest.approx(100 * sum(map(sum, every)) / sum(map(len, every)))


def test_an_image_is_read_once_however_many_pairs_it_is_in(root, tiny_backbone):
    model, seen = Correspondence(tiny_backbone, images_per_forward=2), []
    model.backbone.patch_embed.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    found = model([SPair(str(root), size=64)[0]])[0]
    assert sum(seen) == 3 and len(found['errors']) == 6


@pytest.mark.parametrize('values, sentence', [
    (dict(trg_kps=[[1, 2]]), 'has 2 keypoints in the source and 1 in the target'),
    (dict(src_kps=[[70, 3], [3, 3]]), r"has the keypoint \(70, 3\) outside of 'a.jpg' of 60 x 40 pixels"),
    (dict(trg_bndbox=[3, 5, 3, 5]), 'has a box without area'),
    (dict(trg_bndbox=[3, 5]), 'has trg_bndbox='),
    (dict(src_kps=[[i / 3, 1] for i in range(30)] + [[1, float('nan')]]), r'has src_kps\[30\]=\[1, nan\]: give'),
    (dict(trg_kps=None), 'has trg_kps=None: give'),
    (dict(viewpoint_variation=3), 'has viewpoint_variation=3: give 0, 1 or 2'),
    (dict(src_imname='d.jpg'), '1 of the 4 images of the class cat .* first .*cat/d.jpg'),
])
def test_wrong_annotations_are_found_before_the_first_item(root, values, sentence):
    change(root, **values)
    with pytest.raises(InputError, match=sentence):
        SPair(str(root))


def test_what_is_missing_or_broken_is_named(root):
    first = min((root / 'PairAnnotation/test').iterdir())
    text = first.read_text()
    first.unlink()
    with pytest.raises(InputError, match='1 of the 12 pairs .* do not exist, first .*000000-a-b:cat.json'):
        SPair(str(root))
    first.write_text(text[:40])
    with pytest.raises(InputError, match='000000-a-b:cat.json. cannot be read'):
        SPair(str(root))
    first.write_text(text)
    Image.new('RGB', (10, 10)).save(root / 'JPEGImages/cat/b.jpg')
    with pytest.raises(InputError, match='has 10 x 10 pixels, and its pairs say 30 x 50'):
        SPair(str(root), size=32)[1]
    (root / 'JPEGImages/cat/b.jpg').write_bytes(b'none')
    with pytest.raises(InputError, match='cat/b.jpg. cannot be decoded'):
        SPair(str(root), size=32)[1]
    (root / 'JPEGImages/cat/b.jpg').unlink()
    with pytest.raises(InputError, match='1 of the 3 images of the class cat'):
        SPair(str(root))
    with pytest.raises(InputError, match="val.txt' does not exist: set data_root to the folder of SPair-71k"):
        SPair(str(root), 'val')


def test_wrong_settings_are_explained(tiny_backbone):
    with pytest.raises(InputError, match="the extractor reads 'mean': set its read to 'patches'"):
        Correspondence(tiny_backbone, extractor=dict(read='mean'))
    with pytest.raises(InputError, match='images of 30 px are not whole patches of 8 px: set test_dataloader.dataset.size to 32'):
        Correspondence(tiny_backbone).features(torch.zeros(1, 3, 30, 30, dtype=torch.uint8))


def test_from_the_command_line_with_one_process_and_two(root, evaluated):
    config, options = 'configs/dense/spair.py', ('test_dataloader.dataset.size=48', 'test_evaluator.pairs_per_class=4')
    found = evaluated(config, root, *options)
    assert evaluated(config, root, *options, processes=2) == found
    assert set(found) == {'PCK_probe3d', 'PCK_image', 'PCK_point', *(f'PCK_probe3d_view{i}' for i in range(3))}


def test_the_recipe_is_probe3ds(monkeypatch):
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    for name in ('spair', 'small_spair_world'):
        check_config(Config.fromfile(f'configs/dense/{name}.py'))
    cfg = Config.fromfile('configs/dense/spair.py')
    assert (cfg.test_dataloader.dataset.size, cfg.test_evaluator.alpha, cfg.test_evaluator.pairs_per_class) == (800, 0.1, 200)
