"""Copies of photos, and where to look for the originals."""
from __future__ import annotations

import os
from collections import Counter

import numpy as np
from mmengine.dataset import BaseDataset
from torchvision.transforms import functional as F

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.images import find_images, read_rgb, require_folder
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

ROLES = ('database', 'query', 'distractor', 'whitening')


@DATASETS.register_module()
class Copydays(BaseDataset):
    """INRIA Copydays (Douze et al., 2009): originals, copies of them, and other photos.

    An item is ``dict(image=(3, size, size) uint8 RGB, index=int)``, resized without keeping the aspect (bicubic). ``metainfo`` has of
    each image its role, one of ``'database'``, ``'query'``, ``'distractor'`` and ``'whitening'``, and its block: the first four characters
    of the file's name, which an original and its copies share.

    Args:
        data_root: Folder with the folders of originals and copies.
        originals: Name of the former.
        queries: Name of the latter: ``'strong'``, the hardest copies.
        distractors: Any folder of images, among which originals have to be found too; None for none, which is easier. Figures are
            comparable only with the same ones; published are those with 10,000 of YFCC100M.
        num_distractors: So many of them at most, drawn, always the same.
        whitening: Any folder of images of which the whitening is learnt; None for no whitening. Where it is the folder of the distractors,
            others are drawn.
        num_whitening: So many of them at most.
        size: Height and width.

    Raises:
        InputError: A folder is missing or empty, or a copy has no original.
    """

    def __init__(self, data_root: str, originals: str = 'original', queries: str = 'strong', distractors: str | None = None,
                 num_distractors: PositiveInt = 10000, whitening: str | None = None, num_whitening: PositiveInt = 20000,
                 size: PositiveInt = 320):
        self.folders = dict(database=originals, query=queries)
        self.others = dict(distractor=(distractors, num_distractors), whitening=(whitening, num_whitening))
        self.size = size
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        require_folder(self.data_root)
        paths = {role: find_images(os.path.join(self.data_root, folder)) for role, folder in self.folders.items()}
        originals = Counter(map(_block, paths['database']))
        lost = [path for path in paths['query'] if _block(path) not in originals]
        if lost:
            raise InputError(f"{len(lost)} of the {len(paths['query'])} copies of '{self.data_root}' have no original, whose name begins "
                             f"with the same four characters, first '{lost[0]}': complete the folder '{self.folders['database']}'")
        taken: set[str] = set()
        for role, (folder, number) in self.others.items():
            paths[role] = []
            if folder is not None:
                found = [path for path in find_images(folder) if os.path.realpath(path) not in taken]
                drawn = np.random.default_rng(0).permutation(len(found))[:number]
                paths[role] = [found[i] for i in sorted(drawn)]
                taken.update(map(os.path.realpath, paths[role]))
                if not paths[role]:
                    raise InputError(f"all images of '{folder}' are distractors already, and none is left for {role}: give another "
                                     'folder, or lower num_distractors')
        pairs = [(role, path) for role in ROLES for path in paths[role]]
        self._metainfo.update(roles=[role for role, _ in pairs], blocks=[_block(path) for _, path in pairs])
        return [dict(img_path=path) for _, path in pairs]

    def __getitem__(self, index: int) -> dict:
        path = self.get_data_info(index)['img_path']
        image = read_rgb(path)
        if image is None:
            raise InputError(f"'{path}' cannot be decoded: copy it again, or take it out of its folder")
        return dict(image=F.pil_to_tensor(F.resize(image, [self.size, self.size], F.InterpolationMode.BICUBIC)), index=index)


def _block(path: str) -> str:
    return os.path.basename(path)[:4]
