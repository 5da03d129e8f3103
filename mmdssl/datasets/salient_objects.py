"""Images with a mask of the object that stands out: ECSSD, DUTS, DUT-OMRON."""
from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torchvision.transforms.functional import pil_to_tensor

from mmdssl.datasets.images import find_images, read_rgb
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class SalientObjects(BaseDataset):
    """Images in their own size with a mask of what is salient.

    An item is ``dict(image=(3, H, W) uint8 RGB, mask=(H, W) bool, img_path=str, index=int)``; what is not black in the mask is
    salient. Images cannot be stacked: use ``collate_fn=dict(type='mmdssl.list_samples')``.

    Args:
        data_root: Root of the data set.
        data_prefix: ``dict(img_path=folder, mask_path=folder)`` of the images and of the masks, which have the same names with ``.png``.

    Raises:
        InputError: A folder, an image or a mask is missing, which is found before the first item, or cannot be used.
    """

    def __init__(self, data_root: str, data_prefix: Mapping[str, str]):
        super().__init__(data_root=data_root, data_prefix=dict(data_prefix))

    def load_data_list(self) -> list[dict]:
        images, masks = ({_stem(path): path for path in find_images(self.data_prefix[key])} for key in ('img_path', 'mask_path'))
        for found, other, what, key in ((images, masks, 'mask', 'mask_path'), (masks, images, 'image', 'img_path')):
            alone = [path for stem, path in found.items() if stem not in other]
            if alone:
                raise InputError(f"{len(alone)} files have no {what} of the same name in '{self.data_prefix[key]}', first '{alone[0]}': "
                                 'complete the data')
        return [dict(img_path=path, mask_path=masks[stem]) for stem, path in images.items()]

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        image, mask = (read_rgb(info[key]) for key in ('img_path', 'mask_path'))
        for found, key in ((image, 'img_path'), (mask, 'mask_path')):
            if found is None:
                raise InputError(f"'{info[key]}' cannot be decoded: copy it again, a score without it would be of other data")
        if image.size != mask.size:
            raise InputError(f"'{info['mask_path']}' has {mask.width} x {mask.height} pixels and its image {image.width} x {image.height}: "
                             'copy both again')
        salient = torch.from_numpy(np.array(mask.convert('L')) > 0)
        return dict(image=pil_to_tensor(image), mask=salient, img_path=info['img_path'], index=index)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
