"""Things of a class from all sides with fixed points of their surface, in the layout of SPair-71k."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image

from . import scenes
from .files import SCENE_SIZE, box_of, save
from .render import FIRST_THING, look, project, render, surface_points, visible

SPLITS = dict(train='trn', val='val', test='test')
_POINTS = 20
_SHARED = 3  # keypoints that a pair has at least
_VIEWPOINTS, _SCALES = np.radians([30, 60]), (1.2, 1.5)  # where the kinds of a difference between two images end


def directions() -> np.ndarray:
    """The directions ``(20, 3)`` of the keypoints from the middle of a thing, evenly on the sphere but for its bottom."""
    z = 1 - 1.5 * (np.arange(_POINTS) + .5) / _POINTS
    angle = np.pi * (3 - 5**.5) * np.arange(_POINTS)
    return np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z]).T


def write(folder: Path, rng: np.random.Generator, split: str, index: int) -> dict:
    """One image and its annotation, with which it returns what only pairs need; ``kps`` count from the centre of the first pixel."""
    width, height = SCENE_SIZE
    label = index % len(scenes.CLASSES)
    shape, pattern = scenes.CLASSES[label]
    keypoints: dict[str, list[float] | None] = {}
    while sum(place is not None for place in keypoints.values()) < _SHARED:
        scene, viewpoint = scenes.specimen(rng, label)
        points = surface_points(scene.things[0], directions())
        places = project(scene.camera, points, width, height)
        seen = visible(scene, points) & ((places > .5) & (places < np.array([width, height]) - .5)).all(1)
        keypoints = {str(i): [round(float(value) - .5, 2) for value in place] if shows else None
                     for i, (place, shows) in enumerate(zip(places, seen))}
    image, numbers = render(scene, width, height)
    mask = numbers == FIRST_THING
    alone = look(replace(scene, things=scene.things[:1]), width, height).surface == FIRST_THING
    left, top, right, bottom = box_of(mask)
    category, name = f'{pattern}_{shape}', f'{split}_{index + 1:06d}'
    annotation = dict(
        filename=f'{name}.jpg', image_width=width, image_height=height, image_depth=3, category=category,
        bndbox=[left, top, right, bottom], azimuth=round(float(viewpoint), 4), kps=keypoints,
        truncated=int(left == 0 or top == 0 or right == width or bottom == height),
        occluded=int(mask.sum() < .95 * alone.sum()))
    save(Image.fromarray(image), folder / f'JPEGImages/{category}/{name}.jpg')
    path = folder / f'ImageAnnotation/{category}/{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(annotation))
    return annotation


def _both(source: int, target: int) -> int:
    """0 for none, 1 for the source, 2 for the target, 3 for both."""
    return source + 2 * target


def _pair(number: int, source: dict, target: dict) -> dict | None:
    """The annotation of a pair, of what is visible in both images."""
    shared = [i for i in source['kps'] if source['kps'][i] and target['kps'][i]]
    if len(shared) < _SHARED:
        return None
    size = [source['image_width'], source['image_height'], source['image_depth']]
    stems = [image['filename'].removesuffix('.jpg') for image in (source, target)]
    turn = abs(source['azimuth'] - target['azimuth'])
    heights = [max(image['bndbox'][2] - image['bndbox'][0], image['bndbox'][3] - image['bndbox'][1]) for image in (source, target)]
    return dict(
        filename=f'{number:06d}-{stems[0]}-{stems[1]}:{source["category"]}', pair_id=number, src_imname=source['filename'],
        trg_imname=target['filename'], category=source['category'], src_imsize=size, trg_imsize=size, src_bndbox=source['bndbox'],
        trg_bndbox=target['bndbox'], src_kps=[source['kps'][i] for i in shared], trg_kps=[target['kps'][i] for i in shared], kps_ids=shared,
        src_pose='Unspecified', trg_pose='Unspecified', mirror=0, viewpoint_variation=int((turn > _VIEWPOINTS).sum()),
        scale_variation=int((max(heights) / min(heights) > np.array(_SCALES)).sum()),
        truncation=_both(source['truncated'], target['truncated']), occlusion=_both(source['occluded'], target['occluded']))


def write_lists(folder: Path, images: Mapping[str, Sequence[dict]]) -> None:
    """The pairs of two images of a class and a split, in both directions, and their lists."""
    (folder / 'Layout/large').mkdir(parents=True)
    for split, name in SPLITS.items():
        pairs: list[dict] = []
        for source, target in permutations(images[split], 2):
            if source['category'] == target['category'] and (pair := _pair(len(pairs) + 1, source, target)):
                pairs.append(pair)
        (folder / 'PairAnnotation' / name).mkdir(parents=True)
        for pair in pairs:
            (folder / f'PairAnnotation/{name}/{pair["filename"]}.json').write_text(json.dumps(pair))
        (folder / f'Layout/large/{name}.txt').write_text(''.join(f'{pair["filename"]}\n' for pair in pairs))
