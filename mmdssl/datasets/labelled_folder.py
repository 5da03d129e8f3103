"""Class folders with labels, for k-NN."""
from __future__ import annotations

import os
from typing import Annotated

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mmdssl.arguments import PositiveInt, Range
from mmdssl.datasets.images import find_images, read_rgb, require_folder
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

UNREADABLE = -1
LONGEST = 20  # times the short side; the rest of a longer image, which is not in the crop, would take gigabytes when it is resized


def centre_crop(image: Image.Image, resize: int, size: int) -> Tensor:
    """``(3, size, size)`` uint8 of an RGB image whose short side is resized to a length (bicubic, antialiased)."""
    longest = LONGEST * min(image.size)
    if max(image.size) > longest:
        image = F.center_crop(image, [min(image.height, longest), min(image.width, longest)])
    return F.pil_to_tensor(F.center_crop(F.resize(image, resize, F.InterpolationMode.BICUBIC), size))


@DATASETS.register_module()
class LabelledFolder(BaseDataset):
    """Images of class folders, cropped the same way every time.

    An item is ``dict(image=(3, size, size) uint8 RGB, label=int, index=int)``. A file that cannot be decoded has the
    label ``UNREADABLE`` (-1) and a black image: leave it out.

    Args:
        data_root: Folder with one folder of images per class, as ``train`` or ``val`` of ImageNet.
        resize: Length the short side is resized to (bicubic, antialiased).
        size: Side of the centre crop after that.
        fraction: Share of the images to use, in (0, 1]; below 1 every class gives the same number of images, or all it
            has.

    Attributes:
        classes: Names of the class folders, sorted; labels count through them.

    Raises:
        InputError: The folder or the class folders are missing, or a setting does not fit.
    """

    def __init__(self, data_root: str, resize: PositiveInt = 256, size: PositiveInt = 224,
                 fraction: Annotated[float, Range('above 0 and up to 1', lambda share: 0 < share <= 1)] = 1.0):
        if size > resize:
            raise InputError(f'size={size} is larger than resize={resize}: the crop must fit into the resized image')
        self.resize = resize
        self.size = size
        self.fraction = fraction
        self.classes: list[str] = []
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        require_folder(self.data_root)
        self.classes = sorted(entry.name for entry in os.scandir(self.data_root)
                              if entry.is_dir() and not entry.name.startswith('.'))
        if not self.classes:
            raise InputError(f"no class folders in '{self.data_root}': it must hold one folder of images per class")
        paths = [find_images(os.path.join(self.data_root, name)) for name in self.classes]
        if self.fraction < 1:
            paths = self._subset(paths)
        return [dict(img_path=path, label=label) for label, members in enumerate(paths) for path in members]

    def _subset(self, paths: list[list[str]]) -> list[list[str]]:
        """The same images in every run: about ``fraction`` of all, equally many of each class."""
        per_class = max(1, round(self.fraction * sum(map(len, paths)) / len(paths)))
        order = np.random.default_rng(0)
        return [[members[i] for i in sorted(order.permutation(len(members))[:per_class])] for members in paths]

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        image = read_rgb(info['img_path'])
        if image is None:
            return dict(image=torch.zeros(3, self.size, self.size, dtype=torch.uint8), label=UNREADABLE, index=index)
        return dict(image=centre_crop(image, self.resize, self.size), label=info['label'], index=index)
