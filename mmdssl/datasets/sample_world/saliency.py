"""Photos of one large thing with its mask, in the layout of ECSSD."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from . import scenes
from .files import SCENE_SIZE, save
from .render import FIRST_THING, render

_VISIBLE = .04  # share of the pixels that the thing covers at least


def write(folder: Path, rng: np.random.Generator, split: str, index: int) -> None:
    """One image and the mask, 255 and 0, of the thing in its middle."""
    mask = np.zeros(1)
    while mask.mean() < _VISIBLE:
        image, numbers = render(scenes.photo(rng, index % len(scenes.CLASSES)), *SCENE_SIZE)
        mask = numbers == FIRST_THING
    save(Image.fromarray(image), folder / f'images/{index + 1:04d}.jpg')
    save(Image.fromarray(np.uint8(255 * mask)), folder / f'ground_truth_mask/{index + 1:04d}.png')


def write_lists(folder: Path, entries: Mapping[str, Sequence[None]]) -> None:
    """ECSSD has none."""
