"""Images of Pascal VOC with a mask for each object, or for each class."""
from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmengine.dataset import BaseDataset
from torchvision.transforms import functional as F

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.lists import read_lines
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class VOCInstances(BaseDataset):
    """The images of VOC 2012 that have masks.

    An item is ``dict(image=(3, size, size) uint8 RGB, mask_path=str, index=int)``, the image resized without keeping the aspect
    (bilinear); the mask (:func:`mmdssl.datasets.davis.read_mask`) has the numbers of objects, or of classes, 0 for the background and
    255 for what is not counted, in the image's own size.

    Args:
        data_root: Folder with ``JPEGImages``, ``SegmentationObject`` and ``ImageSets/Segmentation``, such as ``VOCdevkit/VOC2012``.
        split: Name of the list of images.
        size: Height and width.
        annotation: Folder of the masks, of objects or of classes.

    Raises:
        InputError: A list, an image or a mask is missing or cannot be used; what is missing is found before the first item.
    """

    def __init__(self, data_root: str, split: str = 'val', size: PositiveInt = 480,
                 annotation: Literal['SegmentationObject', 'SegmentationClass'] = 'SegmentationObject'):
        self.list_file = Path(data_root, 'ImageSets/Segmentation', f'{split}.txt')
        self.size = size
        self.annotation = annotation
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        names = read_lines(self.list_file, 'image', 'set data_root to the folder of VOC 2012, which holds JPEGImages, SegmentationObject '
                           'and ImageSets/Segmentation')
        infos = [dict(img_path=str(Path(self.data_root, 'JPEGImages', f'{name}.jpg')),
                      mask_path=str(Path(self.data_root, self.annotation, f'{name}.png'))) for name in names]
        missing = [path for info in infos for path in info.values() if not Path(path).is_file()]
        if missing:
            raise InputError(f"{len(missing)} images and masks of the {len(names)} that '{self.list_file}' names do not exist, first "
                             f"'{missing[0]}': complete the data or take them off the list")
        return infos

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        image = read_rgb(info['img_path'])
        if image is None:
            raise InputError(f"'{info['img_path']}' cannot be decoded: copy it again")
        image = F.resize(image, [self.size, self.size], F.InterpolationMode.BILINEAR)
        return dict(image=F.pil_to_tensor(image), mask_path=info['mask_path'], index=index)
