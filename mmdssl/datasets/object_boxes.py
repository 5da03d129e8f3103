"""Images in their own size with the boxes of their objects, by which the discovery of objects is measured."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.checks import check_coco
from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.lists import read_lines
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS


class BoxedImages(BaseDataset):
    """What the sources of images with boxes share; a subclass says where both are, in ``img_path`` and ``boxes`` of its data list.

    An item is ``dict(image=(3, H, W) uint8 RGB, boxes=(n, 4) float32, img_path=str, index=int)``. Boxes are the left, upper, right and
    lower edge in pixels, 0 being the edge of the image. Images cannot be stacked: use ``collate_fn=dict(type='mmdssl.list_samples')``.

    Args:
        max_side: Shrink images (bilinear, antialiased), and their boxes, so that no side is longer; None for their own size, as published
            figures have it.
        **kwargs: Further arguments of MMEngine's ``BaseDataset``.
    """

    def __init__(self, *, max_side: PositiveInt | None = None, **kwargs):
        self.max_side = max_side
        super().__init__(**kwargs)

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        image = read_rgb(info['img_path'])
        if image is None:
            raise InputError(f"'{info['img_path']}' cannot be decoded: copy it again, a score without it would be of other data")
        boxes = torch.tensor(info['boxes'], dtype=torch.float32).view(-1, 4)
        width, height = image.size
        if self.max_side and max(image.size) > self.max_side:
            ratio = self.max_side / max(image.size)
            image = image.resize((max(round(width * ratio), 1), max(round(height * ratio), 1)), Image.Resampling.BILINEAR)
            boxes = boxes * torch.tensor([image.width / width, image.height / height] * 2)
        return dict(image=pil_to_tensor(image), boxes=boxes, img_path=info['img_path'], index=index)


@DATASETS.register_module()
class VOCBoxes(BoxedImages):
    """Images of a year of Pascal VOC with the boxes of all of their objects, also those that are difficult or truncated.

    VOC counts pixels from 1 and includes the last: its box (1, 1, W, H) of a whole image is (0, 0, W, H) here.

    Args:
        data_root: Folder with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``, such as ``VOCdevkit/VOC2007``.
        split: Name of the list of images.
        max_side: See :class:`BoxedImages`.

    Raises:
        InputError: A list, an image or an annotation is missing or cannot be used, which is found before the first item.
    """

    def __init__(self, data_root: str, split: str = 'trainval', max_side: PositiveInt | None = None):
        self.list_file = Path(data_root, 'ImageSets/Main', f'{split}.txt')
        super().__init__(data_root=data_root, max_side=max_side)

    def load_data_list(self) -> list[dict]:
        names = read_lines(self.list_file, 'image', 'set data_root to the folder of one year of VOC, which holds JPEGImages, Annotations '
                           'and ImageSets/Main')
        images = [os.path.join(self.data_root, 'JPEGImages', f'{name}.jpg') for name in names]
        annotations = [os.path.join(self.data_root, 'Annotations', f'{name}.xml') for name in names]
        _require([*images, *annotations], 'images and annotations', str(self.list_file))
        return [dict(img_path=image, boxes=read_voc_boxes(annotation)) for image, annotation in zip(images, annotations)]


def read_voc_boxes(path: str | Path) -> list[list[float]]:
    """Left, upper, right and lower edge of the boxes in an annotation of VOC, with 0 at the edge of the image.

    Raises:
        InputError: It is no such file; or a box has a side that is not finite, no pixel, or more than one pixel beyond the image's edge,
            where the file says its size.
    """
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (float(root.findtext(f'size/{side}') or 0) or math.inf for side in ('width', 'height'))
        boxes = [[float(found.find('bndbox').findtext(side)) for side in ('xmin', 'ymin', 'xmax', 'ymax')]
                 for found in root.findall('object')]
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' is no annotation of VOC, which has object/bndbox/{{xmin,ymin,xmax,ymax}} ({error}): copy it "
                         'again') from None
    for box in boxes:
        left, upper, right, lower = box
        # comparisons with NaN are false
        if not (0 <= left <= right <= width + 1 and 0 <= upper <= lower <= height + 1 and max(right, lower) < math.inf):
            size = f'of {width:g} x {height:g} pixels' if width + height < math.inf else 'whose size it does not say'
            raise InputError(f"'{path}' has the box ({', '.join(f'{side:g}' for side in box)}), which is none in an image {size}: correct "
                             'it to xmin, ymin, xmax and ymax, counted from 1, or take the image off the list')
    return [[left - 1, upper - 1, right, lower] for left, upper, right, lower in boxes]


@DATASETS.register_module()
class CocoBoxes(BoxedImages):
    """Images of a COCO json with the boxes of their objects, rounded to whole pixels; crowds are left out.

    Args:
        ann_file: The json file, relative to ``data_root``.
        data_prefix: ``dict(img=folder)``: the folder of the images, relative to ``data_root``.
        data_root: Root of the data set.
        image_list: Only the images that a text file names, one per line, in its order; folders before their names do not matter. For
            COCO20k the ``coco_20k_filenames.txt`` of the code of LOST. Relative to ``data_root``.
        max_side: See :class:`BoxedImages`.

    Raises:
        InputError: A file is missing or cannot be used, which is found before the first item.
    """

    def __init__(self, ann_file: str, data_prefix: Mapping[str, str], data_root: str = '', image_list: str | None = None,
                 max_side: PositiveInt | None = None):
        self.image_list = None if image_list is None else Path(data_root, image_list)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=dict(data_prefix), max_side=max_side)

    def load_data_list(self) -> list[dict]:
        from pycocotools.coco import COCO  # which nothing else here needs
        names = None if self.image_list is None else read_lines(
            self.image_list, 'image', f"set image_list to the list of the images that count, or to None for all of '{self.ann_file}'")
        check_coco(self.ann_file)
        with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere):
            coco = COCO(self.ann_file)
        images = coco.dataset['images'] if names is None else self._chosen(coco.dataset['images'], names)
        infos = [dict(img_path=os.path.join(self.data_prefix['img'], image['file_name']),
                      boxes=[_edges(found['bbox']) for found in coco.imgToAnns[image['id']] if not found.get('iscrowd')])
                 for image in images]
        _require([info['img_path'] for info in infos], 'images', self.ann_file)
        return infos

    def _chosen(self, images: list[dict], names: list[str]) -> list[dict]:
        known = {os.path.basename(image['file_name']): image for image in images}
        names = [os.path.basename(name) for name in names]
        lost = [name for name in names if name not in known]
        if lost:
            raise InputError(f"'{self.image_list}' names {len(lost)} images that '{self.ann_file}' does not have, first '{lost[0]}': set "
                             'image_list to a list of images of ann_file, one per line')
        return [known[name] for name in names]


def _edges(box: Sequence[float]) -> list[int]:
    left, upper, width, height = box
    return [round(edge) for edge in (left, upper, left + width, upper + height)]


def _require(paths: list[str], what: str, source: str) -> None:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{len(missing)} of the {len(paths)} {what} of '{source}' do not exist, first '{missing[0]}': complete the data")
