"""Images with masks by whatever names."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.images import image_sizes, kinds_left_out
from mmdssl.datasets.own import IMAGES, LOOKED_AT, MASKS, PARTS, child, held_out, inside, require_readable, write
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError

LOSSLESS = ('.png', '.bmp', '.tif', '.tiff', '.gif')
SMOOTH = 16  # levels beyond the classes that are no ids, but what lies between them
SHOWN = 6
RECODE = 'docs/own_data.md has the few lines of Python that do it'


@dataclass
class Pairs:
    """Images with masks: folders, names of the images, what stands in place of their suffix in the names of masks, and how many images
    have no mask; of those that are not read at all, how many there are by suffix."""
    images: Path
    masks: Path
    mask_suffix: str
    names: list[str]
    bare: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    def mask_of(self, name: str) -> Path:
        return self.masks / f'{_stem(name)}{self.mask_suffix}'

    @property
    def by_suffix(self) -> dict[str, list[str]]:
        """Names without suffix, by suffix."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(name[len(_stem(name)):], []).append(_stem(name))
        return found

    @property
    def said(self) -> str:
        """How many images there are, and how many are left out and why."""
        bare = f'{self.bare} more have no mask in {self.masks} and are left out' if self.bare else ''
        return '; '.join(filter(None, [f'{len(self.names)} images in {self.images}', bare, kinds_left_out(self.unread)]))


@dataclass
class Levels:
    """What is in masks, by level: its pixels, and the first mask that has it."""
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    first: dict[int, Path] = field(default_factory=dict)

    def add(self, path: Path, mask: np.ndarray) -> None:
        found = np.bincount(mask.ravel(), minlength=256)
        self.pixels += found
        for level in np.flatnonzero(found).tolist():
            self.first.setdefault(level, path)

    @property
    def there(self) -> list[int]:
        return np.flatnonzero(self.pixels).tolist()


def find_pairs(root: Path) -> dict[str, Pairs]:
    """Images with masks by part; where the folder has no parts, every fifth image is in ``val``.

    Folders are ``images`` and ``masks`` or have another of their usual names; parts are folders in these, or above them.

    Raises:
        InputError: There are no such folders, or none of the images has a mask.
    """
    found: dict[str, Pairs] = {}
    for part, called in PARTS.items():
        for name in called:
            above = child(root, [name])
            images, masks = (child(folder, kinds) for folder, kinds in ((above, IMAGES), (above, MASKS)))
            if not (images and masks):
                images, masks = (child(child(root, kinds), [name]) for kinds in (IMAGES, MASKS))
            if images and masks:
                found.setdefault(part, _pair(images, masks))
    if not found:
        images, masks = (child(root, kinds) for kinds in (IMAGES, MASKS))
        if not (images and masks):
            above = root.resolve().parent
            meant = f"give '{above}', which has them" if child(above, IMAGES) and child(above, MASKS) else (
                'call them images and masks, with or without train and val in each')
            raise InputError(f"'{root}' has no folders of images and of their masks (there is {inside(root)}): {meant}")
        whole = _pair(images, masks)
        if len(whole.names) < 2:
            raise InputError(f"'{root}' has {len(whole.names)} image with a mask: one to train on and one to validate is the least")
        train, val = held_out(whole.names)
        found = dict(train=replace(whole, names=train), val=replace(whole, names=val, bare=0, unread=Counter()))
    if 'train' not in found:
        raise InputError(f"'{root}' has images and masks of {', '.join(found)}, but none to train on: call their folders train")
    found.setdefault('val', found.get('test', found['train']))
    return found


def _files(folder: Path) -> list[str]:
    require_readable(folder)
    names = (path.relative_to(folder) for path in sorted(folder.rglob('*')) if path.name[0] != '.' and path.is_file())
    return [name.as_posix() for name in names]


def _stem(name: str) -> str:
    return name.removesuffix(Path(name).suffix)


def _pair(images: Path, masks: Path) -> Pairs:
    files = _files(images)
    names, unread = [name for name in files if name.lower().endswith(IMG_EXTENSIONS)], Counter(Path(name).suffix for name in files)
    if not names:
        there = kinds_left_out(unread) or f"put them there ({', '.join(IMG_EXTENSIONS)})"
        raise InputError(f"there is no image in '{images}': {there}")
    of_masks = _files(masks)
    if not of_masks:
        raise InputError(f"there is no mask in '{masks}': put them there, with the names of their images")
    ends = Counter(name[len(stem):] for stem in map(_stem, names[:20]) for name in of_masks
                   if name.startswith(stem) and not name[len(stem):][:1].isalnum())
    hard = Counter({end: number for end, number in ends.items() if end.lower().endswith(LOSSLESS)})
    if ends and not hard:
        raise InputError(f"the masks in '{masks}' end with {ends.most_common(1)[0][0]}, first '{of_masks[0]}', which is no format of ids "
                         f'(JPEG changes them at every edge): save them as PNG; {RECODE}, also for what JPEG has left of them')
    if not hard:
        raise InputError(f"no image of '{images}', such as '{names[0]}', has a mask in '{masks}', where there is "
                         f"'{of_masks[0]}': give masks the names of their images, ending with .png")
    pairs, there = Pairs(images, masks, hard.most_common(1)[0][0], names, unread=unread), set(of_masks)
    with_mask = [name for name in names if f'{_stem(name)}{pairs.mask_suffix}' in there]
    return replace(pairs, names=with_mask, bare=len(names) - len(with_mask))


def write_names(names: Sequence[str], path: Path) -> Path:
    """Names of images as a text file."""
    write(path.absolute(), '\n'.join(names) + '\n')
    return path.absolute()


def levels_of(parts: Iterable[Pairs], upright: bool = False) -> Levels:
    """What is in the masks, in no more than :data:`mmdssl.datasets.own.LOOKED_AT` of each part.

    Args:
        parts: Images and masks.
        upright: Where an EXIF orientation turns an image, its mask is as large as the turned one; else as that or as what is stored.

    Raises:
        InputError: A mask cannot be read, has colours, or another size than its image.
    """
    levels = Levels()
    for pairs, name in ((part, name) for part in parts for name in part.names[::max(len(part.names) // LOOKED_AT, 1)]):
        path = pairs.mask_of(name)
        mask = read_mask(path)
        sizes = image_sizes(str(pairs.images / name))  # none of one that cannot be decoded, which is passed over in training
        if sizes and mask.shape[::-1] not in sizes[-1:] + sizes * (not upright):
            turned = ' when it is turned as its EXIF orientation says' * (len(sizes) > 1)
            raise InputError(f"the mask '{path}' has {mask.shape[1]} x {mask.shape[0]} pixels, but its image '{name}' has {sizes[-1][0]} x "
                             f'{sizes[-1][1]}{turned}: a mask holds one id per pixel of the image, save it as large as that')
        levels.add(path, mask)
    return levels


def check_levels(levels: Levels, classes: Sequence[str], where: Path) -> bool:
    """Whether masks are binary, 0 and 255 for two classes.

    Raises:
        InputError: There are other levels than the ids of the classes; it says which, in how many pixels, and what they may be.
    """
    there = levels.there
    known = [level for level in there if level != VOID]
    if known in ([], [0]) and VOID in there:
        if len(classes) == 2 and classes[0] != 'void':
            return True
        raise InputError(f"the masks in '{where}' have the ids {', '.join(map(str, there))}, and {VOID} is void here, a pixel that "
                         'does not count: where it is a class, as in masks of black and white, name two classes and it is read as 1')
    none = [level for level in known if level >= len(classes)]
    if not none:
        return False
    pixels, first = int(levels.pixels[none].sum()), min(levels.first[level] for level in none)
    most = sorted(there, key=lambda level: -levels.pixels[level])[:SHOWN]
    found = ', '.join(f'{level} in {levels.pixels[level]:,} pixels' for level in most) + ' ...' * (len(there) > SHOWN)
    named = ', '.join(f'{number} {name}' for number, name in enumerate(classes[:12])) + ' ...' * (len(classes) > 12)
    raise InputError(f"the masks in '{where}' have the levels {found}, and the ids of the {len(classes)} classes are 0 to "
                     f"{len(classes) - 1} ({named}): {pixels:,} pixels ({pixels / levels.pixels.sum():.2g} of all) are of none, first in "
                     f"'{first.name}'; {_advice(there, none, levels, classes)}")


def _advice(there: Sequence[int], none: Sequence[int], levels: Levels, classes: Sequence[str]) -> str:
    if len(there) > len(classes) + SMOOTH:
        return ('so many levels are edges that were smoothed, by resizing or by JPEG: save masks without that (nearest neighbour, PNG), or '
                f'give each pixel the nearest id; {RECODE}')
    steps = {after - before for before, after in pairwise(there)}
    if len(there) == len(classes) and there[0] == 0 and max(steps) - min(steps) <= 1:
        return f'these are {len(there)} levels of grey for {len(classes)} classes: write the ids in their place; {RECODE}'
    if levels.pixels[none].sum() < 0.001 * levels.pixels.sum():
        return f'these few are most likely slips: correct them, or make them {VOID}, which does not count'
    return ('name all classes, the background too, as in --classes background apple pear; or begin with void if the id 0 does not count')
