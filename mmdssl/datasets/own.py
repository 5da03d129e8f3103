"""How people call folders and files of their own data, and their parts."""
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from mmdssl.datasets.images import SHRINK, read_rgb
from mmdssl.errors import InputError

PARTS = dict(
    train=('train', 'training', 'trainval'), val=('val', 'valid', 'validation', 'dev', 'eval'), test=('test', 'testing'))
IMAGES = ('images', 'image', 'imgs', 'img', 'jpegimages', 'photos', 'pictures', 'frames', 'clips', 'videos', 'rgb', 'leftimg8bit')
MASKS = ('masks', 'mask', 'segmentationclassaug', 'segmentationclass', 'annotations', 'annotation', 'labels', 'label', 'segmentations',
         'segmentation', 'gt', 'ground_truth')
MOVIES = ('.mp4', '.avi', '.mov', '.mkv', '.webm')
ARCHIVES = ('.zip', '.rar', '.7z', '.gz', '.bz2', '.xz')
HELD_OUT = 5  # every fifth image validates, where nothing says which ones do
LOOKED_AT = 200  # images or masks of a part, before a run
MANY = 8  # names of a folder that a message shows


def part_of(name: str) -> str | None:
    """Which part of a data set a name says it is."""
    words = set(re.findall('[a-z]+', name.lower()))
    return next((part for part, called in PARTS.items() if words & set(called)), None)


def held_out(items: Sequence) -> tuple[list, list]:
    """Those to train on, and those to validate: the last of every five; of fewer the last."""
    chosen = set(range(HELD_OUT - 1, len(items), HELD_OUT)) or {len(items) - 1}
    return [each for i, each in enumerate(items) if i not in chosen], [items[i] for i in sorted(chosen)]


def write(path: Path, text: str) -> None:
    """Write a file whole, in a folder that is made where it is missing; processes of a run write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    partial.write_text(text)
    partial.replace(path)


def child(folder: Path | None, names: Sequence[str]) -> Path | None:
    """The folder in a folder with one of the names, in whatever case; the first name that there is."""
    if folder is None or not folder.is_dir():
        return None
    there = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def inside(folder: Path) -> str:
    """Some of the names in a folder, for a message."""
    names = sorted(path.name for path in islice(folder.iterdir(), MANY + 1))
    return ', '.join(names[:MANY]) + ' ...' * (len(names) > MANY) or 'nothing'


def require_readable(path: Path) -> None:
    """Raise an InputError for an archive, and for what this user may not read."""
    if path.is_file() and path.suffix.lower() in ARCHIVES:
        raise InputError(f"'{path}' is an archive, and data are read from folders: unpack it, and give the folder")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputError(f"'{path}' may not be read by this user: change its permissions, as by chmod -R u+rX, or copy it")


def require_decodable(paths: Sequence[Path]) -> None:
    """Raise an InputError where images that validate cannot be decoded; those that are trained on are passed over, but a validation
    would end with them, hours later."""
    some = paths[::max(len(paths) // LOOKED_AT, 1)]
    broken = [path for path in some if path.is_file() and read_rgb(str(path), lambda width, height: SHRINK[0]) is None]
    if broken:
        raise InputError(f"{len(broken)} of {len(some)} images looked at that validate cannot be decoded, first '{broken[0]}': repair "
                         'them, or remove them and their labels')


def find_clips(root: Path) -> dict[str, str]:
    """Names below a folder of clips and of their masks, a folder per clip in each.

    Raises:
        InputError: There are none.
    """
    frames, masks = (child(root, kinds) for kinds in (IMAGES, MASKS))
    movies = [path for folder in (root, frames) if folder for path in sorted(folder.iterdir()) if path.suffix.lower() in MOVIES]
    if movies and not any(path.is_dir() for path in (frames or root).iterdir()):
        raise InputError(f"'{movies[0]}' is a movie, and frames are read from images: make them, for instance with ffmpeg -i "
                         f'{movies[0].name} clips/{movies[0].stem}/%05d.jpg, and their masks masks/{movies[0].stem}/00001.png, ...')
    if not (frames and masks):
        above = next((path for path in (root.resolve().parent, root.resolve().parent.parent)
                      if child(path, IMAGES) and child(path, MASKS)), None)
        meant = f"give '{above}', which has them" if above else 'call them clips and masks, with a folder for each clip in both'
        raise InputError(f"'{root}' has neither ImageSets, as DAVIS, nor folders of clips and of their masks (there is {inside(root)}): "
                         f'{meant}')
    folders = [child(folder, ['480p']) or folder for folder in (frames, masks)]
    return dict(zip(('frames', 'masks'), (path.relative_to(root).as_posix() for path in folders)))
