"""Small videos in the layouts of JHMDB, VIP and YouTube-VOS, whose cells of 8 pixels move one column to the left per frame.

What is labelled is far enough from the right, where new cells come in that are like none.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from mmdssl.datasets.palette import save_mask

CELL, ROWS, COLUMNS = 8, 6, 16
SIZE = (ROWS * CELL, COLUMNS * CELL)


def drifting(frames: int, seed: int = 0) -> np.ndarray:
    """Pixels ``(T, 48, 128, 3)`` uint8; each cell has one colour of its own."""
    colours = np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS + frames, 3), dtype=np.uint8)
    return np.stack([large(colours[:, t:t + COLUMNS]) for t in range(frames)])


def large(cells: np.ndarray) -> np.ndarray:
    """The pixels of cells."""
    return cells.repeat(CELL, 0).repeat(CELL, 1)


def _save(frames: np.ndarray, folder: Path, suffix: str, start: int) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(frames, start):
        Image.fromarray(pixels).save(folder / f'{number:05d}{suffix}', quality=95, subsampling=0)


def write_jhmdb(root: Path, clips: int = 2, frames: int = 4) -> dict[str, np.ndarray]:
    """Clips of two actions, the last one for training; positions ``(T, 15, 2)`` of those for test."""
    joints = {}
    (root / 'splits').mkdir(parents=True)
    for index in range(clips + 1):
        action, clip = ('clap', 'wave')[index % 2], f'clip_{index}'
        rng = np.random.default_rng(index)
        cells = rng.permutation([(x, y) for x in range(frames + 1, COLUMNS - 4) for y in range(1, ROWS - 1)])[:15]
        positions = CELL * np.stack([cells - [t, 0] for t in range(frames)]).astype(float)
        _save(drifting(frames, index), root / 'Rename_Images' / action / clip, '.png', 1)
        path = root / 'joint_positions' / action / clip / 'joint_positions.mat'
        path.parent.mkdir(parents=True)
        savemat(path, dict(pos_img=positions.transpose(2, 1, 0) + 1, scale=np.ones(frames)))
        with open(root / f'splits/{action}_test_split1.txt', 'a') as file:
            file.write(f'{clip}.avi {1 if index == clips else 2}\n')
        if index < clips:
            joints[f'{action}/{clip}'] = positions
    return joints


def write_vip(root: Path, videos: int = 2, frames: int = 4) -> dict[str, np.ndarray]:
    """Videos with three parts; the masks ``(T, 48, 128)``."""
    (root / 'lists').mkdir(parents=True)
    (root / 'lists/val_videos.txt').write_text(''.join(f'videos{index}\n' for index in range(videos)))
    masks = {}
    for index in range(videos):
        name = f'videos{index}'
        cells = np.zeros((ROWS, COLUMNS), np.uint8)
        cells[1:3, 5:7], cells[3:5, 5:8], cells[2, 8] = 2, 4, 13 + index
        masks[name] = np.stack([large(np.roll(cells, -t, 1)) for t in range(frames)])
        _save(drifting(frames, index), root / 'Images' / name, '.jpg', 0)
        for t, mask in enumerate(masks[name]):
            save_mask(mask, root / f'Annotations/Category_ids/{name}/{t:05d}.png')
    return masks


def write_objects(root: Path, meta: bool = True) -> dict[str, np.ndarray]:
    """Two videos of 6 frames as in YouTube-VOS: in ``late`` nothing is there in frame 0, 3 comes in frame 1 and 7 in frame 3."""
    truth = {}
    for name, appears in dict(late={3: 1, 7: 3}, plain={1: 0, 2: 0}).items():
        masks = np.zeros((6, *SIZE), np.uint8)
        for place, (number, start) in enumerate(appears.items()):
            cells = np.zeros((ROWS, COLUMNS), np.uint8)
            cells[1 + 2 * place:3 + 2 * place, 8:10] = number
            for t in range(start, 6):
                masks[t] += large(np.roll(cells, -t, 1))
            given = np.where(masks[start] == number, number, 0).astype(np.uint8)
            path = root / f'Annotations/{name}/{5 * start:05d}.png'
            if path.is_file():
                given += np.array(Image.open(path))
            save_mask(given, path)
        truth[name] = masks
        folder = root / 'JPEGImages' / name
        folder.mkdir(parents=True)
        for t, pixels in enumerate(drifting(6, len(name))):
            Image.fromarray(pixels).save(folder / f'{5 * t:05d}.jpg', quality=95, subsampling=0)
    if meta:
        asked = dict(late={'3': ['00005', '00015'], '7': ['00015', '00025']}, plain={'1': ['00000', '00010'], '2': ['00000', '00020']})
        (root / 'meta.json').write_text(json.dumps(dict(videos={
            name: dict(objects={number: dict(category='thing', frames=frames) for number, frames in objects.items()})
            for name, objects in asked.items()})))
    return truth
