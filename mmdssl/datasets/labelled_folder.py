"""Class folders with labels, for classification and protocols."""
from __future__ import annotations

import os
from itertools import chain
from typing import Annotated, Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mmdssl.arguments import PositiveInt, Range
from mmdssl.datasets.images import find_images, read_rgb, require_folder
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.packed import ImageFiles, PackedPaths
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

UNREADABLE = -1
LONGEST = 20  # times the short side; the rest of a longer image, which is not in the crop, would take gigabytes when it is resized


def centre_crop(image: Image.Image, resize: int, size: int, interpolation: F.InterpolationMode = F.InterpolationMode.BICUBIC) -> Tensor:
    """``(3, size, size)`` uint8 of an RGB image whose short side is resized to a length (antialiased)."""
    longest = LONGEST * min(image.size)
    if max(image.size) > longest:
        image = F.center_crop(image, [min(image.height, longest), min(image.width, longest)])
    return F.pil_to_tensor(F.center_crop(F.resize(image, resize, interpolation), size))


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
            has, drawn with a seed that is always the same.
        names: A text file of the images to use, a line each, such as SimCLR's lists of 1 % and 10 % of ImageNet: paths below
            ``data_root``, of which the last part is enough where it tells the image.
        interpolation: Of the resize, antialiased.

    Attributes:
        classes: Names of the class folders, sorted; labels count through them.
        subset: What was chosen of the folder, in words; None for all of it.

    Raises:
        InputError: The folder or the class folders are missing, a listed image is not there, or a setting does not fit.
    """

    def __init__(self, data_root: str, resize: PositiveInt = 256, size: PositiveInt = 224,
                 fraction: Annotated[float, Range('above 0 and up to 1', lambda share: 0 < share <= 1)] = 1.0,
                 names: str | None = None, interpolation: Literal['bicubic', 'bilinear'] = 'bicubic'):
        if size > resize:
            raise InputError(f'size={size} is larger than resize={resize}: the crop must fit into the resized image')
        self.resize = resize
        self.size = size
        if names and fraction < 1:
            raise InputError(f"fraction={fraction:g} and names='{names}' both choose images: give one of them")
        self.fraction = fraction
        self.names = names
        self.interpolation = F.InterpolationMode(interpolation)
        self.classes: list[str] = []
        self.subset: str | None = None
        super().__init__(data_root=data_root, serialize_data=False)

    def load_data_list(self) -> ImageFiles:
        self.classes = class_names(self.data_root)
        paths = [find_images(os.path.join(self.data_root, name)) for name in self.classes]
        total = sum(map(len, paths))
        if self.fraction < 1:
            paths = self._subset(paths)
            self.subset = f'{sum(map(len, paths))} of {total} images, as many of each class, drawn with seed 0'
        elif self.names:
            paths = self._listed(paths)
            self.subset = f'{sum(map(len, paths))} of {total} images, listed in {os.path.basename(self.names)}'
        labels = np.repeat(np.arange(len(paths), dtype=np.int32), [*map(len, paths)])
        return ImageFiles(PackedPaths(chain.from_iterable(paths), self.data_root), labels)

    def _subset(self, paths: list[list[str]]) -> list[list[str]]:
        """The same images in every run: about ``fraction`` of all, equally many of each class."""
        per_class = max(1, round(self.fraction * sum(map(len, paths)) / len(paths)))
        order = np.random.default_rng(0)
        return [[members[i] for i in sorted(order.permutation(len(members))[:per_class])] for members in paths]

    def _listed(self, paths: list[list[str]]) -> list[list[str]]:
        """The images that ``names`` lists, in the folder's order."""
        wanted = {*read_lines(self.names, 'image', 'set names to a text file with a path on each line', unique=False)}
        known = {path: {os.path.relpath(path, self.data_root), os.path.basename(path)} for members in paths for path in members}
        found = [[path for path in members if known[path] & wanted] for members in paths]
        missing = wanted.difference(*known.values())
        if missing:
            raise InputError(f"'{self.names}' lists {len(missing)} images that are not in '{self.data_root}', first {min(missing)}: give "
                             'the list that belongs to this data set')
        return found

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        image = read_rgb(info['img_path'])
        if image is None:
            return dict(image=torch.zeros(3, self.size, self.size, dtype=torch.uint8), label=UNREADABLE, index=index)
        return dict(image=centre_crop(image, self.resize, self.size, self.interpolation), label=info['label'], index=index)


def require_classes(dataset: BaseDataset) -> None:
    """Raise an InputError unless there are several classes, because of a single one everything is right."""
    if len(dataset.classes) < 2:
        raise InputError(f"'{dataset.data_root}' has a single class, {', '.join(map(str, dataset.classes))}, which nothing can be mistaken "
                         'for: take data of several classes, of which class folders lie side by side in one folder')


def class_names(root: str) -> list[str]:
    """Names of the class folders in a folder, sorted.

    Raises:
        InputError: There is no such folder, or none in it.
    """
    require_folder(root)
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith('.'))
    if not names:
        raise InputError(f"no class folders in '{root}': it must hold one folder of images per class")
    return names
