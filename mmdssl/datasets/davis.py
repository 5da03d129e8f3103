"""Videos, one whole sequence at a time, for the propagation of what is known of the first frame; DAVIS-2017."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import Image

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.images import image_sizes, open_file, open_image, read_rgb
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS, FUNCTIONS

FRAMES, MASKS = 'JPEGImages/480p', 'Annotations/480p'
FRAME_SUFFIXES = ('.jpg', '.jpeg', '.png')
SCORED_FROM = 3  # frames of a clip
MANY_OBJECTS = 64  # of a clip; what has more ids has smoothed edges
SHOWN = 4


class Videos(BaseDataset):
    """Sequences of frames with a mask of ids each.

    An item is ``dict(name, frames, first_mask, frame_paths, mask_paths, binary)``: frames ``(T, 3, h, w)`` uint8 RGB as the
    network sees them, the first mask ``(H, W)`` uint8 in its own size. Whoever needs the other masks, or frames in
    their own size, reads them. Sequences cannot be stacked: use ``collate_fn=dict(type='mmdssl.list_samples')``.

    Args:
        data_root: Folder of the data set.
        short_side: Frames are resized (bilinear) to this length of the short side; the long side follows, rounded down
            to a multiple of ``long_side_step``. None leaves frames their own size, both sides rounded down.
        long_side: In place of ``short_side``: to this length of the long side, where the short one is rounded down.
        size: In place of both: height and width, whatever the aspect.
        long_side_step: See there.

    Raises:
        InputError: The folder, a list, a sequence, a frame or a label is missing or cannot be used; what is missing is
            found before the first item.
    """

    def __init__(self, data_root: str, short_side: PositiveInt | None = 480, long_side: PositiveInt | None = None,
                 size: tuple[PositiveInt, PositiveInt] | None = None, long_side_step: PositiveInt = 64):
        self.short_side = short_side
        self.long_side = long_side
        self.size = size
        self.long_side_step = long_side_step
        super().__init__(data_root=data_root)

    def find(self, name: str, folder: Path, masks: Path) -> dict:
        """Paths of the frames of a sequence, and of the masks that all of them have."""
        frames = self.find_frames(name, folder)
        paths = [masks / f'{frame.stem}.png' for frame in frames]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            others = sorted({path.suffix for path in masks.glob('*')} - {'.png'})
            instead = f', where masks end with {others[0]}: save them as PNG' if len(missing) == len(paths) and others else (
                ': complete the data or take it off the list')
            raise InputError(f"sequence '{name}' has no mask for {len(missing)} of its {len(paths)} frames, first '{missing[0]}'{instead}")
        _require_one_size(name, frames, paths)
        return dict(name=name, frame_paths=[str(path) for path in frames], mask_paths=[str(path) for path in paths])

    def find_frames(self, name: str, folder: Path) -> list[Path]:
        """Paths of the frames of a sequence in their order."""
        frames = sorted(path for path in folder.glob('*') if path.suffix.lower() in FRAME_SUFFIXES and path.name[0] != '.')
        if not frames:
            raise InputError(f"sequence '{name}' of '{self.source}' is empty, there are no frames in '{folder}': "
                             'complete the data or take it off the list')
        return frames

    def names_in(self, list_file: Path, layout: str) -> list[str]:
        """The lines of a file that lists sequences; ``layout`` is what the folder of the data set holds."""
        self.source = list_file
        return read_lines(list_file, 'sequence', f'give {layout}')

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        binary = info.get('binary', False)
        first_mask = torch.from_numpy(read_mask(info['mask_paths'][0], binary))
        frames = self.read_frames(info['frame_paths'], tuple(first_mask.shape))
        return dict(name=info['name'], frames=frames, first_mask=first_mask, frame_paths=info['frame_paths'],
                    mask_paths=info['mask_paths'], binary=binary)

    def read_frames(self, paths: Sequence[str], shape: tuple[int, int]) -> torch.Tensor:
        """Frames ``(T, 3, h, w)`` uint8 RGB as the network sees them, of files that all have one height and width."""
        size = self.resized(*shape)
        frames = torch.empty(len(paths), 3, *size, dtype=torch.uint8)
        for frame, path in zip(frames, paths):
            image = read_frame(path)
            if image.shape[:2] != shape:
                raise InputError(f"'{path}' has height and width {image.shape[:2]}, its sequence {shape}: all frames and "
                                 'masks must have one size')
            frame[:] = torch.from_numpy(cv2.resize(image, size[::-1])).permute(2, 0, 1)
        return frames

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as the network sees frames of the given ones."""
        step = self.long_side_step
        if self.size:
            return tuple(self.size)
        if self.long_side:
            short_side = max(self.long_side * min(height, width) // max(height, width) // step, 1) * step
            return (short_side, self.long_side) if width > height else (self.long_side, short_side)
        if self.short_side:
            return resized(height, width, self.short_side, step)
        return max(height // step, 1) * step, max(width // step, 1) * step


@DATASETS.register_module()
class DAVIS(Videos):
    """DAVIS-2017, see :class:`Videos` for an item.

    Args:
        data_root: Folder with ``JPEGImages``, ``Annotations`` and ``ImageSets``.
        split: Name of the list of sequences, ``ImageSets/<year>/<split>.txt``; or None: all that have frames and masks.
        year: Folder of the lists. The lines of DAVIS-2016's name frames and masks.
        frames: Folder with a folder of frames for each sequence.
        masks: Folder with a folder of masks for each sequence.
        binary: Masks are 0 and 255, as DAVIS-2016's: whatever is not 0 is object 1. Elsewhere 255 is void.
        **resize: Of :class:`Videos`.

    Raises:
        InputError: See :class:`Videos`.
    """

    def __init__(self, data_root: str, split: str | None = 'val', year: str = '2017', frames: str = FRAMES, masks: str = MASKS,
                 binary: bool = False, **resize):
        self.list_file = Path(data_root, 'ImageSets', year, f'{split}.txt')
        self.split = split
        self.frames, self.masks = Path(data_root, frames), Path(data_root, masks)
        self.binary = binary
        super().__init__(data_root, **resize)

    def load_data_list(self) -> list[dict]:
        names = self._all() if self.split is None else self.names_in(
            self.list_file, f'the folder of DAVIS-2017, which holds ImageSets, {FRAMES} and {MASKS}')
        names = dict.fromkeys(Path(name.split()[0]).parent.name if '/' in name else name for name in names)
        infos = [self.find(name, self.frames / name, self.masks / name) for name in names]
        for info in infos:
            info['binary'] = self.binary
            ids = set(np.unique(read_mask(info['mask_paths'][0])).tolist())
            if VOID in ids <= {0, VOID} and not self.binary:
                raise InputError(f"the mask '{info['mask_paths'][0]}' has no other id than 0 and {VOID}, and {VOID} is void, a pixel that "
                                 'does not count: where it is the object, as in DAVIS-2016, give --cfg-options '
                                 'test_dataloader.dataset.binary=True (--binary of eval_davis), and it is read as 1')
            between = len(ids - {0, VOID})
            if ids == {0}:
                raise InputError(f"the first mask of sequence '{info['name']}', '{info['mask_paths'][0]}', has no object to follow: "
                                 'leave the sequence out')
            if len(info['mask_paths']) < SCORED_FROM:
                raise InputError(f"sequence '{info['name']}' has {len(info['mask_paths'])} frames, of which the first and the last are not "
                                 'scored: leave it out')
            if between > MANY_OBJECTS or self.binary and VOID in ids and between:
                raise InputError(f"the mask '{info['mask_paths'][0]}' has {between} levels beside 0 and {VOID}, as of edges that were "
                                 'smoothed by resizing or JPEG: save masks without that (nearest neighbour, PNG)')
        return infos

    def _all(self) -> list[str]:
        self.source = self.frames
        of_frames, of_masks = ({path.name for path in folder.glob('*') if path.is_dir() and path.name[0] != '.'}
                               for folder in (self.frames, self.masks))
        if not of_frames & of_masks:
            raise InputError(f"no folder of a clip in '{self.frames}' has one of masks in '{self.masks}': give both the same name")
        for folder, alone, lacking in ((self.frames, of_frames - of_masks, 'masks'), (self.masks, of_masks - of_frames, 'frames')):
            if alone:
                print_log(f"{len(alone)} of the folders in '{folder}' have no {lacking} and are left out: {', '.join(sorted(alone)[:5])}",
                          'current', logging.WARNING)
        return sorted(of_frames & of_masks)


def find_year(root: str | Path, split: str, year: str = '2017') -> str:
    """The folder of ``ImageSets`` that has the list of a split: the given one, or that of another year of DAVIS, or else the given one."""
    return next((each for each in (year, '2017', '2016', '480p') if Path(root, 'ImageSets', each, f'{split}.txt').is_file()), year)


@FUNCTIONS.register_module()
def list_samples(samples: Sequence[dict]) -> list[dict]:
    """A batch of items that cannot be stacked: their list."""
    return list(samples)


def _require_one_size(name: str, frames: Sequence[Path], masks: Sequence[Path]) -> None:
    """Raise an InputError unless frames and masks of a sequence have one size; those that cannot be read are named when they are."""
    sizes = {path: found[0] for path in (*frames, *masks) if (found := image_sizes(str(path)))}
    (width, height), *_ = [*sizes.values(), (0, 0)]
    odd = [path for path, size in sizes.items() if size != (width, height)]
    if odd:
        kinds = [(sum(path in set(odd) for path in some), len(some), kind) for kind, some in (('frames', frames), ('masks', masks))]
        which = ' and '.join(f'{number} of its {total} {kind}' for number, total, kind in kinds if number)
        raise InputError(f"sequence '{name}' begins with a frame of {width} x {height} pixels, and {which} have another size, first "
                         f"'{odd[0]}' with {' x '.join(map(str, sizes[odd[0]]))}: all frames and masks must have one size, resize masks "
                         'without smoothing (nearest neighbour)')


def _colours(image: Image.Image) -> str:
    """The most frequent colours of a mask that has some, in words."""
    found = sorted(image.convert('RGB').getcolors(image.width * image.height), reverse=True)
    some = ', '.join(f'{colour} in {pixels:,} pixels' for pixels, colour in found[:SHOWN]) + ' ...' * (len(found) > SHOWN)
    return f'colours ({image.mode}; {len(found)} of them: {some})'


def resized(height: int, width: int, short_side: int, step: int) -> tuple[int, int]:
    """Height and width with the given short side, the long side rounded down to a multiple of ``step``."""
    long_side = short_side * max(height, width) / min(height, width) // step * step
    return (short_side, int(long_side)) if width > height else (int(long_side), short_side)


def read_frame(path: str | Path) -> np.ndarray:
    """RGB ``(H, W, 3)`` uint8.

    Raises:
        InputError: It cannot be decoded.
    """
    image = read_rgb(str(path))
    if image is None:
        raise InputError(f"frame '{path}' cannot be decoded: copy it again")
    return np.array(image)


def as_binary(ids: np.ndarray, path: str | Path) -> np.ndarray:
    """A mask of 0 and 255, or of 0 and 1, as 0 and 1.

    Raises:
        InputError: It has other levels, or both 1 and 255.
    """
    levels = {*np.unique(ids).tolist()} - {0}
    if len(levels) > 1 or not levels <= {1, VOID}:
        raise InputError(f"the mask '{path}' has the levels {', '.join(map(str, sorted(levels)[:SHOWN]))} beside 0, and masks of black and "
                         f'white have 0 and {VOID} alone: save it so')
    return (ids > 0).astype(np.uint8)


def read_mask(path: str | Path, binary: bool = False) -> np.ndarray:
    """The ids ``(H, W)`` uint8 of an indexed or grey PNG; of a binary one, 0 and 255 as in DAVIS-2016, 0 and 1.

    Raises:
        InputError: It cannot be read, or has colours in place of ids.
    """
    try:
        with open_file(str(path)) as file, open_image(file) as image:
            if image.mode.startswith('I'):
                ids = np.array(image)
                if ids.min() < 0 or ids.max() > VOID:
                    raise InputError(f"mask '{path}' has levels from {ids.min()} to {ids.max()}, and ids are 0 to {VOID}: save it with 8 "
                                     'bits, and numbers of classes or objects')
            elif image.mode not in ('P', 'L', '1'):
                raise InputError(f"mask '{path}' has {_colours(image)} in place of ids: save it as a PNG of one channel, an id for each "
                                 'colour (docs/own_data.md has the few lines of Python that do it)')
            ids = np.array(image, dtype=np.uint8)
            return (ids > 0).astype(np.uint8) if binary else ids
    except InputError:
        raise
    except Exception as error:  # on broken data, decoders raise almost anything
        raise InputError(f"mask '{path}' cannot be read ({error}): copy it again") from None
