"""Videos of one or two figures with the parts of their bodies and clothes, in the layout of VIP's fine annotations (``VIP_Fine``)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmdssl.datasets.palette import save_mask

from . import figures
from .files import SCENE_SIZE, save
from .render import FIRST_THING, render

CLASSES = ('background', 'hat', 'hair', 'sunglasses', 'upper clothes', 'dress', 'coat', 'socks', 'pants', 'gloves', 'scarf', 'skirt',
           'torso skin', 'face', 'right arm', 'left arm', 'right leg', 'left leg', 'right shoe', 'left shoe')


def write(folder: Path, rng: np.random.Generator, split: str, index: int, frames: int) -> str:
    """One video and the classes of its pixels; returns its name."""
    name = f'videos{index + 1 + 500 * (split == "val")}'
    parts = [CLASSES.index(limb.part) for limb in figures.LIMBS.values()]
    for number, (scene, posed) in enumerate(figures.performance(rng, frames, figures.ACTIONS[index % 4], 1 + index % 2), 1):
        image, numbers = render(scene, *SCENE_SIZE)
        table = np.zeros(FIRST_THING + len(scene.things), np.uint8)
        table[FIRST_THING:][:len(parts) * len(posed)] = parts * len(posed)
        save(Image.fromarray(image), folder / f'Images/{name}/{number:012d}.jpg')
        save_mask(table[numbers], folder / f'Annotations/Category_ids/{name}/{number:012d}.png')
    return name


def write_lists(folder: Path, videos: Mapping[str, Sequence[str]]) -> None:
    """The lists of videos."""
    (folder / 'lists').mkdir()
    for split in ('train', 'val'):
        (folder / f'lists/{split}_videos.txt').write_text(''.join(f'{name}\n' for name in videos[split]))
