"""Videos of people with a mask of their parts and clothes."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from mmdssl.datasets.davis import Videos
from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

VIP_PARTS = ('background', 'hat', 'hair', 'sunglasses', 'upper clothes', 'dress', 'coat', 'socks', 'pants', 'gloves', 'scarf', 'skirt',
             'torso skin', 'face', 'right arm', 'left arm', 'right leg', 'left leg', 'right shoe', 'left shoe')
FRAMES, MASKS = 'Images', 'Annotations/Category_ids'


@DATASETS.register_module()
class VIP(Videos):
    """Video Instance-level Parsing (Zhou et al., 2018), with the ids of ``VIP_PARTS``; see :class:`Videos` for an item.

    Args:
        data_root: ``VIP_Fine``, the folder with ``Images``, ``Annotations/Category_ids`` and ``lists``.
        split: Name of the list of videos, ``lists/<split>_videos.txt``.
        **resize: Of :class:`Videos`.

    Raises:
        InputError: See :class:`Videos`; or a first mask has an id that is no part.
    """

    def __init__(self, data_root: str, split: str = 'val', **resize):
        self.list_file = Path(data_root, 'lists', f'{split}_videos.txt')
        super().__init__(data_root, **resize)

    def load_data_list(self) -> list[dict]:
        names = self.names_in(self.list_file, f'VIP_Fine, the folder that holds {FRAMES}, {MASKS} and lists')
        return [self.find(name, Path(self.data_root, FRAMES, name), Path(self.data_root, MASKS, name)) for name in names]

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        ids = np.setdiff1d(item['first_mask'].numpy(), [*range(len(VIP_PARTS)), VOID])
        if ids.size:
            raise InputError(f"'{item['mask_paths'][0]}' has the id {ids[0]}, but VIP has {len(VIP_PARTS)} parts from 0 and {VOID} for "
                             'what is not counted: point data_root to masks of Category_ids')
        return item
