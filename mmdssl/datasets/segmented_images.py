"""Images with semantic masks, for protocols on dense features."""
from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import ColorJitter, RandomApply, RandomResizedCrop
from torchvision.transforms import functional as F

from mmdssl.arguments import NonEmpty, NonNegativeInt, Positive, PositiveInt, Range, Share
from mmdssl.datasets.davis import as_binary, read_mask
from mmdssl.datasets.images import read_rgb, require_folder
from mmdssl.datasets.labelled_folder import UNREADABLE
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.palette import VOID
from mmdssl.datasets.seeding import seeded
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

Id = Annotated[int, Range('from 0 to 255', lambda value: 0 <= value <= 255)]
RATIO = (3 / 4, 4 / 3)


@DATASETS.register_module()
class SegmentedImages(BaseDataset):
    """Images and their masks, resized to a square without keeping the aspect: images bilinear and antialiased, masks nearest (as
    PyTorch rounds, not as Pillow).

    An item is ``dict(image=(3, size, size) uint8 RGB, mask=(size, size) uint8, label=0, index=int)``: a mask has the numbers of classes
    and 255 for what is not counted. An image that cannot be decoded has the label ``UNREADABLE`` (-1) and a mask of 255: leave it out.

    Args:
        data_root: Folder of the data set.
        images: Folder of images below it; those in folders of that folder count too.
        masks: Folder of masks, which have the names of their images, below ``data_root``.
        image_suffix: What the names of images end with.
        mask_suffix: What stands in its place in the names of masks.
        names: A text file below ``data_root`` with a name of an image on each line, without the folder ``images``, with or without
            suffix; all images without one. An absolute path may lie elsewhere.
        classes: Names of the classes, in the order of the ids of masks; or by name the ids that are of this class, where all other ids
            are not counted; or a text file below ``data_root`` with a name on each line.
        reduce_zero_label: The id 0 is not counted, and names of classes begin with the id 1.
        ignore: Ids that are not counted, as 255 never is; a name of theirs is no class.
        binary: Masks are 0 and 255, and 255 is read as 1.
        size: Height and width.
        number: How many of the images to use; all where there are fewer.
        number_seed: What they are drawn with.
        augment: Draw a crop of each image (torchvision's ``RandomResizedCrop``; where ten draws are none, it takes what fits of the whole
            image) and with probability 1/2 each a change of brightness, contrast, saturation and hue. ``dataset[(seed, epoch, index)]``
            depends on these three numbers alone.
        scale: Of the crops, shares of the image's area; those above 1 are never possible. As the memory of Hummingbird by default.
        jitter: Of the changes of colour, the largest.
        flip: Probability that a crop is mirrored.
        epochs: How often each image is in the data set, one pass after another; with ``augment`` each time with another crop.
        seed: Of the crops.

    Attributes:
        classes: Names of the classes; masks of items count through them.
        subset: What was chosen of the folder, in words; None for all of it.

    Raises:
        InputError: A folder, list, image or mask is missing, which is found before the first item; or when it is loaded: a mask cannot be
            read, is of another size than its image or has an unknown id.
    """

    def __init__(self, data_root: str, images: str, masks: str, image_suffix: str = '.jpg', mask_suffix: str = '.png',
                 names: str | None = None, classes: Annotated[Sequence[str], NonEmpty] | Mapping[str, Sequence[Id]] | str = 'classes.txt',
                 reduce_zero_label: bool = False, ignore: Sequence[Id] = (), binary: bool = False, size: PositiveInt = 512,
                 number: PositiveInt | None = None, number_seed: NonNegativeInt = 42, augment: bool = False, epochs: PositiveInt = 1,
                 seed: NonNegativeInt = 0, scale: tuple[Positive, Positive] = (0.5, 2.0), jitter: Share = 0.1, flip: Share = 0.):
        self.images, self.masks = Path(data_root, images), Path(data_root, masks)
        self.image_suffix, self.mask_suffix = image_suffix, mask_suffix
        self.names = None if names is None else Path(data_root, names)
        self.binary = binary
        self.size = size
        self.number, self.number_seed = number, number_seed
        self.subset: str | None = None
        self.augment = augment
        self.epochs = epochs
        self.seed = seed
        self.scale = scale
        self.flip = flip
        if not Path(data_root).is_dir():
            raise InputError(f"data_root '{data_root}' is not a folder: put or link the data there, or give --data ROOT")
        if isinstance(classes, str):
            classes = _listed_classes(Path(data_root, classes))
        # int16, because -1 marks the ids that should not be there
        self._class_of = np.full(256, VOID if isinstance(classes, Mapping) else -1, np.int16)
        if not isinstance(classes, Mapping):
            classes = {name: [number + reduce_zero_label] for number, name in enumerate(classes)}
        self.classes = [name for name, ids in classes.items() if not {*ids} <= {*ignore}]
        for number, name in enumerate(self.classes):
            self._class_of[classes[name]] = number
        self._class_of[[*ignore, VOID, *([0] if reduce_zero_label else [])]] = VOID
        kinds = ('brightness', 'contrast', 'saturation', 'hue') if jitter else ()
        self._jitter = [RandomApply([ColorJitter(**{kind: jitter})], 0.5) for kind in kinds]
        super().__init__(data_root=data_root)

    @property
    def setting(self) -> dict[str, int]:
        """What numbers must agree in to be compared."""
        return dict(image=self.size, classes=len(self.classes))

    def load_data_list(self) -> list[dict]:
        for folder in (self.images, self.masks):
            require_folder(str(folder))
        stems = self._listed() if self.names else self._found()
        if self.names:
            self.subset = f'{len(stems)} images, listed in {self.names.name}'
        if self.number and self.number < len(stems):
            drawn = np.random.default_rng(self.number_seed).permutation(len(stems))[:self.number]
            self.subset = f'{self.number} of {len(stems)} images, drawn with seed {self.number_seed}'
            stems = [stems[i] for i in sorted(drawn)]
        infos = [dict(img_path=f'{self.images / stem}{suffix}', mask_path=f'{self.masks / stem}{self.mask_suffix}')
                 for stem, suffix in map(self._suffixed, stems)]
        missing = [path for info in infos for path in info.values() if not os.path.isfile(path)]
        if missing:
            raise InputError(f"{len(missing)} of the {2 * len(infos)} images and masks of '{self.names or self.images}' do not exist, "
                             f"first '{missing[0]}': complete the data, or set images, masks and their suffixes to where they are")
        return [dict(info, epoch=epoch) for epoch in range(self.epochs) for info in infos]

    def _listed(self) -> list[str]:
        return read_lines(self.names, 'image', 'set names to a text file with the name of an image on each line')

    def _suffixed(self, name: str) -> tuple[str, str]:
        """A name without its suffix, and that; a list may name images of several."""
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMG_EXTENSIONS and (suffix == self.image_suffix or (self.images / name).is_file()):
            return stem, suffix
        return name.removesuffix(self.image_suffix), self.image_suffix

    def _found(self) -> list[str]:
        names = sorted(path.relative_to(self.images).as_posix() for path in self.images.rglob('*') if path.name[0] != '.')
        stems = sorted(name.removesuffix(self.image_suffix) for name in names if name.endswith(self.image_suffix))
        if not stems:
            raise InputError(f"no image '*{self.image_suffix}' below '{self.images}': set images and image_suffix to where they are")
        others = [name for name in names if name.lower().endswith(IMG_EXTENSIONS) and not name.endswith(self.image_suffix)
                  and not ((self.images / name).is_relative_to(self.masks) and name.endswith(self.mask_suffix))]
        if others:
            print_log(f"{len(others)} images below '{self.images}' do not end with image_suffix='{self.image_suffix}' and are not used, "
                      f"first '{others[0]}'", 'current', logging.WARNING)
        return stems

    def read_mask(self, key: tuple[int, int, int] | int) -> Tensor:
        """The mask of an item ``(size, size)`` uint8, without its image."""
        info, key = self._look_up(key)
        mask = self._mask(info)
        with seeded(*key):
            return self._square_mask(mask, self._crop(mask), self._mirrored())

    def __getitem__(self, key: tuple[int, int, int] | int) -> dict:
        info, key = self._look_up(key)
        image = read_rgb(info['img_path'])
        if image is None:
            void = torch.full((self.size, self.size), VOID, dtype=torch.uint8)
            return dict(image=torch.zeros(3, self.size, self.size, dtype=torch.uint8), mask=void, label=UNREADABLE, index=key[2])
        mask = self._mask(info)
        if mask.shape[1:] != (image.height, image.width):
            image = ImageOps.exif_transpose(image)  # a photograph that was labelled as it is looked at
        if mask.shape[1:] != (image.height, image.width):
            raise InputError(f"the mask '{info['mask_path']}' has height and width {tuple(mask.shape[1:])}, but its image has "
                             f'{(image.height, image.width)}: a mask holds one id per pixel of the image')
        with seeded(*key):
            crop, mirrored = self._crop(mask), self._mirrored()
            for jitter in self._jitter if self.augment else ():
                image = jitter(image)
        image = F.pil_to_tensor(F.resized_crop(image, *crop, [self.size, self.size], F.InterpolationMode.BILINEAR))
        return dict(image=F.hflip(image) if mirrored else image, mask=self._square_mask(mask, crop, mirrored), label=0, index=key[2])

    def _look_up(self, key: tuple[int, int, int] | int) -> tuple[dict, tuple[int, int, int]]:
        if isinstance(key, tuple):
            return self.get_data_info(key[2]), key
        info = self.get_data_info(key)
        return info, (self.seed, info['epoch'], key)

    def _mask(self, info: dict) -> Tensor:
        """Numbers of classes ``(1, H, W)`` uint8."""
        ids = read_mask(info['mask_path'])
        if self.binary:
            ids = as_binary(ids, info['mask_path'])
        found = self._class_of[ids]
        if (found < 0).any():
            unknown = ', '.join(map(str, np.unique(ids[found < 0])[:5].tolist()))
            raise InputError(f"the mask '{info['mask_path']}' has the id {unknown}, which is of none of the {len(self.classes)} classes: "
                             'set classes to all that there are, or ignore to the ids that are not counted (of --dense, by --cfg-options '
                             f"val_cfg.dense.bank.dataset.ignore=[{unknown.replace(' ', '')}], and the same of val_cfg.dense.queries)")
        return torch.from_numpy(found.astype(np.uint8))[None]

    def _crop(self, mask: Tensor) -> tuple[int, int, int, int]:
        """Top, left, height and width."""
        return RandomResizedCrop.get_params(mask, self.scale, RATIO) if self.augment else (0, 0, *mask.shape[1:])

    def _mirrored(self) -> bool:
        return bool(self.augment and self.flip and torch.rand(()) < self.flip)

    def _square_mask(self, mask: Tensor, crop: tuple[int, int, int, int], mirrored: bool) -> Tensor:
        mask = F.resized_crop(mask, *crop, [self.size, self.size], F.InterpolationMode.NEAREST)[0]
        return F.hflip(mask) if mirrored else mask


def _listed_classes(path: Path) -> list[str]:
    names = read_lines(path, 'class', 'write the names of the classes to it, one per line, in the order of their ids, or set classes to a '
                       'list of names', unique=False)
    if len(names) >= VOID:
        raise InputError(f"'{path}' names {len(names)} classes: write one per line, at most {VOID - 1} of them")
    return names
