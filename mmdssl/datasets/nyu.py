"""Images with a depth for each pixel, as BTS and its successors lay out NYU Depth v2."""
from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomCrop
from torchvision.transforms import functional as F

from mmdssl.arguments import NonNegative, Positive, PositiveInt, Share, checked
from mmdssl.datasets.images import open_file, open_image, read_rgb
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.seeding import seeded
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

FULL = 480, 640  # height and width for which the crops of NYU Depth v2 are given
COLUMNS = 'image, depth and focal length'


def scaled_box(box: tuple[int, int, int, int], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box ``(left, top, right, bottom)`` of images of 480 x 640, in those of another size."""
    left, top, right, bottom = (int(edge / full * side) for edge, full, side in zip(box, FULL[::-1] * 2, (width, height) * 2))
    return slice(top, bottom), slice(left, right)


@checked
@dataclass(frozen=True)
class DepthAugmentation:
    """The training images of AdaBins and DINOv3.

    Args:
        box: ``(left, top, right, bottom)`` of the part that is used, in an image of 480 x 640: it leaves the white border out.
        rotation: Largest angle in degrees, either way.
        size: Height and width of the random crop.
        flip: Probability of mirroring.
        gamma: Range of the exponent of levels in 0..255.
        brightness: Range of the factor of all channels.
        colour: Range of the factor of each channel.
        prob: Probability of a rotation, and of other colours.
    """
    box: tuple[int, int, int, int] = (43, 45, 608, 472)
    rotation: NonNegative = 2.5
    size: tuple[PositiveInt, PositiveInt] = (416, 544)
    flip: Share = 0.5
    gamma: tuple[Positive, Positive] = (0.9, 1.1)
    brightness: tuple[Positive, Positive] = (0.75, 1.25)
    colour: tuple[Positive, Positive] = (0.9, 1.1)
    prob: Share = 0.5

    def __call__(self, image: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Of an image ``(3, H, W)`` uint8 and its depth ``(H, W)``; what a rotation brings in has depth 0."""
        rows, columns = scaled_box(self.box, *depth.shape)
        image, depth = image[:, rows, columns], depth[None, rows, columns]
        if random.random() < self.prob:
            angle = random.uniform(-self.rotation, self.rotation)
            image, depth = F.rotate(image, angle, InterpolationMode.BILINEAR), F.rotate(depth, angle, InterpolationMode.NEAREST)
        if random.random() < self.flip:
            image, depth = F.hflip(image), F.hflip(depth)
        if any(side < wanted for side, wanted in zip(depth.shape[-2:], self.size)):
            raise InputError(f'there are {depth.shape[-2]} x {depth.shape[-1]} pixels within the box {self.box} of an image, too few for '
                             f'crops of {self.size[0]} x {self.size[1]}: make train_dataloader.dataset.augmentation.size smaller')
        crop = RandomCrop.get_params(depth, self.size)
        image, depth = F.crop(image, *crop), F.crop(depth, *crop)
        if random.random() < self.prob:
            factors = torch.tensor([random.uniform(*self.colour) for _ in range(3)]).view(3, 1, 1) * random.uniform(*self.brightness)
            image = (image.float()**random.uniform(*self.gamma) * factors).clamp(0, 255).round().byte()
        return image, depth[0]


@DATASETS.register_module()
class NYUDepth(BaseDataset):
    """Images with the depth of their pixels.

    An item is ``dict(image=(3, h, w) uint8 RGB, depth=(H, W) float32 in metres, index=int)``; depth is 0 where it was not measured.
    ``dataset[(seed, epoch, index)]`` gives one whose augmentation depends on these three alone; ``dataset[index]`` stands for seed 0 and
    epoch 0.

    Args:
        data_root: Folder of the list and the images.
        ann_file: The list below it; a line is the paths of an image and of its depth, a 16-bit PNG, and the focal length, which is not
            used.
        folder: Where below ``data_root`` the paths of the list begin; they may also begin at ``data_root`` itself.
        augmentation: The arguments of :class:`DepthAugmentation`, for training; None for whole images.
        resize: Height and width that images are resized to (bilinear), before augmentation; the depth too (nearest) where there is one,
            else it keeps its size. None leaves them as they are.
        unit: Metres of a level of the PNG.

    Raises:
        InputError: The list or a file is missing, which is found before the first item, or cannot be used; or the depth has another size
            than the image.
    """

    def __init__(self, data_root: str, ann_file: str = 'nyudepthv2_train_files_with_gt.txt', folder: str = 'sync',
                 augmentation: dict | None = None, resize: tuple[PositiveInt, PositiveInt] | None = None, unit: Positive = 0.001):
        self.list_file = Path(data_root, ann_file)
        self.folder = folder
        self.augmentation = None if augmentation is None else DepthAugmentation(**augmentation)
        self.resize = resize
        self.unit = unit
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        lines = read_lines(self.list_file, 'image', f"set data_root to the folder of NYU Depth v2 and ann_file to BTS's list of {COLUMNS}",
                           unique=False)  # one that is there twice is trained on twice
        for line in lines:
            if len(line.split()) != 3:
                raise InputError(f"the line '{line:.200}' of '{self.list_file}' has {len(line.split())} columns: write {COLUMNS}, with "
                                 'spaces between them')
        names = [[name.lstrip('/') for name in line.split()[:2]] for line in lines]
        root = next((root for root in (Path(self.data_root, self.folder), Path(self.data_root)) if (root / names[0][0]).is_file()),
                    Path(self.data_root, self.folder))
        infos = [dict(img_path=str(root / image), depth_path=str(root / depth)) for image, depth in names]
        missing = [path for info in infos for path in info.values() if not Path(path).is_file()]
        if missing:
            raise InputError(f"{len(missing)} images and depths of the {len(infos)} that '{self.list_file}' names do not exist, first "
                             f"'{missing[0]}': complete the data, set folder to where they begin, or take them off the list")
        return infos

    def __getitem__(self, key: tuple[int, ...] | int) -> dict:
        key = key if isinstance(key, tuple) else (0, 0, key)
        info = self.get_data_info(key[2])
        image = read_rgb(info['img_path'])
        if image is None:
            raise InputError(f"'{info['img_path']}' cannot be decoded: copy it again")
        depth = read_depth(info['depth_path'], self.unit)
        if image.size != depth.shape[::-1]:
            raise InputError(f"'{info['depth_path']}' has {depth.shape[1]} x {depth.shape[0]} pixels and '{info['img_path']}' "
                             f'{image.width} x {image.height}: image and depth must have one size')
        pixels, depth = F.pil_to_tensor(image), torch.from_numpy(depth)
        if self.resize:
            pixels = F.resize(pixels, self.resize, InterpolationMode.BILINEAR, antialias=True)
        if self.augmentation:
            depth = F.resize(depth[None], self.resize, InterpolationMode.NEAREST)[0] if self.resize else depth
            with seeded(*key):
                pixels, depth = self.augmentation(pixels, depth)
        return dict(image=pixels, depth=depth, index=key[2])


def read_depth(path: str, unit: float = 0.001) -> np.ndarray:
    """Depth in metres ``(H, W)`` float32 of a 16-bit PNG whose levels are so many metres.

    Raises:
        InputError: It cannot be read, or is no such PNG.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            if not image.mode.startswith('I'):
                raise InputError(f"depth '{path}' is an image of the mode {image.mode}, not a grey one of 16 bits, whose levels are "
                                 'millimetres: save it as one')
            return np.array(image, dtype=np.float32) * np.float32(unit)
    except InputError:
        raise
    except Exception as error:  # on broken data, decoders raise almost anything
        raise InputError(f"depth '{path}' cannot be read ({error}): copy it again") from None
