"""Yards with the distance of each pixel, in the layout of NYU depth as BTS reads it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from . import scenes
from .files import save
from .render import look, render

SIZE = (160, 120)  # a quarter of NYU's
METRES, FARTHEST = .5, 10.  # of a unit of the world; what the camera measures
FOLDERS = dict(train='sync', val='official_splits/test')


def write(folder: Path, rng: np.random.Generator, split: str, index: int) -> str:
    """One image and its depth along the viewing axis, 16 bits, millimetres, 0 where it is not known; returns its line of the list."""
    scene = scenes.yard(rng)
    depth = METRES * look(scene, *SIZE).depth
    name = f'{scene.grounds[0]}/{{}}_{index:05d}'
    image, distances = name.format('rgb') + '.jpg', name.format('sync_depth') + '.png'
    save(Image.fromarray(render(scene, *SIZE)[0]), folder / FOLDERS[split] / image)
    save(Image.fromarray(np.uint16(np.where(depth <= FARTHEST, np.round(1000 * depth), 0))), folder / FOLDERS[split] / distances)
    slash = '/' if split == 'train' else ''  # as in the lists of BTS
    return f'{slash}{image} {slash}{distances} {scene.camera.focal * SIZE[1]:.4f}\n'


def write_lists(folder: Path, lines: Mapping[str, Sequence[str]]) -> None:
    """The lists of images with depth and focal length (pixels), below ``sync`` and ``official_splits/test``."""
    for split, name in (('train', 'train'), ('val', 'test')):
        (folder / f'nyudepthv2_{name}_files_with_gt.txt').write_text(''.join(lines[split]))
