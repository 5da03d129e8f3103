"""Videos whose masks are known to a server, but for the first of each object."""
from __future__ import annotations

import json
from pathlib import Path

import torch

from mmdssl.datasets.davis import Videos, read_mask
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

MASKS, META = 'Annotations', 'meta.json'


@DATASETS.register_module()
class VideoObjects(Videos):
    """A part of YouTube-VOS or MOSE, such as ``valid``, or any videos laid out as these.

    An item is ``dict(name, frames, first_mask, later_masks, frame_paths, asked)``. Its frames ``(T, 3, h, w)`` uint8 RGB begin with the
    first that has a mask, ``first_mask`` ``(H, W)`` uint8; ``later_masks`` are by number among these frames. ``asked`` says of each frame
    whether the server wants its mask: those that ``meta.json`` names for an object of the video, or all where there is no such file.

    Args:
        data_root: Folder with ``Annotations/<video>/<frame>.png``, of the frames where objects appear, and, if the data set has it,
            ``meta.json``.
        frames: Folder of the frames, ``<video>/<frame>.jpg``, below ``data_root``: ``'../valid_all_frames/JPEGImages'`` for all those of
            YouTube-VOS.
        **resize: Of :class:`Videos`.

    Raises:
        InputError: See :class:`Videos`.
    """

    def __init__(self, data_root: str, frames: str = 'JPEGImages', **resize):
        self.frames = frames
        super().__init__(data_root, **resize)

    def load_data_list(self) -> list[dict]:
        self.source = Path(self.data_root, MASKS)
        names = sorted(path.name for path in self.source.glob('*') if path.is_dir() and path.name[0] != '.')
        if not names:
            raise InputError(f"there is no folder of a video in '{self.source}': set data_root to the folder of a part of YouTube-VOS or "
                             f'MOSE, such as valid, which holds {MASKS} and {self.frames}')
        asked = self._asked()
        return [self._find(name, asked) for name in names]

    def _asked(self) -> dict[str, set[str]] | None:
        path = Path(self.data_root, META)
        if not path.is_file():
            return None
        try:
            videos = json.loads(path.read_text())['videos']
            return {name: {frame for thing in video['objects'].values() for frame in thing['frames']} for name, video in videos.items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"'{path}' does not say which frames of which objects are asked for ({type(error).__name__}: {error}): copy "
                             'it again') from None

    def _find(self, name: str, asked: dict[str, set[str]] | None) -> dict:
        if asked is not None and name not in asked:
            raise InputError(f"'{Path(self.data_root, META)}' does not name the video '{name}' of '{self.source}': copy them again, from "
                             'one data set')
        frames = self.find_frames(name, Path(self.data_root, self.frames, name))
        masks = {path.stem: str(path) for path in sorted((self.source / name).glob('*.png')) if path.name[0] != '.'}
        stems = [path.stem for path in frames]
        if missing := sorted({*masks, *(asked[name] if asked else ())} - {*stems}):
            raise InputError(f"video '{name}' has no frame '{missing[0]}' in '{frames[0].parent}', of which there is a mask, or one is "
                             'asked for: complete the frames')
        if not masks:
            raise InputError(f"video '{name}' has no mask in '{self.source / name}': complete the data")
        start = min(stems.index(stem) for stem in masks)
        return dict(name=name, frame_paths=[str(path) for path in frames[start:]],
                    mask_paths={stems.index(stem) - start: path for stem, path in masks.items()},
                    asked=[asked is None or stem in asked[name] for stem in stems[start:]])

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        masks = {number: read_mask(path) for number, path in info['mask_paths'].items()}
        first = masks.pop(0)
        for number, mask in masks.items():
            if mask.shape != first.shape:
                raise InputError(f"'{info['mask_paths'][number]}' has height and width {mask.shape}, the first mask of its video "
                                 f'{first.shape}: all frames and masks must have one size')
        return dict(name=info['name'], frames=self.read_frames(info['frame_paths'], first.shape), first_mask=torch.from_numpy(first),
                    later_masks=masks, frame_paths=info['frame_paths'], asked=info['asked'])
