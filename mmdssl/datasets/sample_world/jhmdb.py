"""Clips of one figure with its joints, in the layout of JHMDB."""
from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from . import figures
from .files import SCENE_SIZE, save
from .render import project, render


def write(folder: Path, rng: np.random.Generator, split: str, index: int, frames: int) -> tuple[str, str]:
    """One clip and the places of its joints; returns its action and its name.

    Joints that are hidden or outside the image have places too, as in JHMDB; the first pixel's centre is (1, 1).
    """
    action = figures.ACTIONS[index % len(figures.ACTIONS)]
    name = f'{action}_{split}_{index:03d}'
    places = []
    for number, (scene, (figure, )) in enumerate(figures.performance(rng, frames, action), 1):
        save(Image.fromarray(render(scene, *SCENE_SIZE)[0]), folder / f'Rename_Images/{action}/{name}/{number:05d}.png')
        places.append(project(scene.camera, figures.joints_of(figure), *SCENE_SIZE) + .5)
    path = folder / f'joint_positions/{action}/{name}/joint_positions.mat'
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    scipy.io.savemat(file, dict(pos_img=np.stack(places).transpose(2, 1, 0)))
    # In place of the time at which it was written.
    path.write_bytes(b'MATLAB 5.0 MAT-file, mmdssl sample world'.ljust(116) + file.getvalue()[116:])
    return action, name


def write_lists(folder: Path, clips: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """The lists of split 1 by action: 1 after a clip to train on, 2 after one to test on."""
    (folder / 'splits').mkdir()
    marked = [(action, f'{name}.avi {mark}\n') for mark, split in ((1, 'train'), (2, 'val')) for action, name in clips[split]]
    for wanted in sorted({action for action, _ in marked}):
        lines = [line for action, line in marked if action == wanted]
        (folder / f'splits/{wanted}_test_split1.txt').write_text(''.join(lines))
