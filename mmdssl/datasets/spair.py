"""SPair-71k: pairs of images of a class with keypoints that correspond, one class at a time.

Min et al., "SPair-71k: A Large-scale Benchmark for Semantic Correspondence", 2019.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from mmdssl.arguments import PositiveInt, fits, refusal
from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.lists import read_lines
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

PADDING = 255  # grey level beside an image that is no square
Point = tuple[float, float]
Points = list[Point]
Size = tuple[PositiveInt, PositiveInt, PositiveInt]
KINDS = dict(category=str, src_imname=str, trg_imname=str, src_imsize=Size, trg_imsize=Size, src_kps=Points, trg_kps=Points,
             trg_bndbox=tuple[float, float, float, float], viewpoint_variation=Literal[0, 1, 2])


class Pair(NamedTuple):
    """A source and a target image of a class, and k keypoints in both.

    Attributes:
        name: Of the pair.
        source: Position of the source in the images of the class.
        target: Position of the target.
        source_points: ``(k, 2)``, x and y in pixels of the source as it is on disk.
        target_points: ``(k, 2)``, in pixels of the target.
        source_side: The longer side of the source.
        target_side: The longer side of the target.
        box_side: The longer side of the object's box in the target.
        viewpoint: How much the viewpoints differ: 0 (little), 1 or 2.
    """
    name: str
    source: int
    target: int
    source_points: np.ndarray
    target_points: np.ndarray
    source_side: int
    target_side: int
    box_side: float
    viewpoint: int


@DATASETS.register_module()
class SPair(BaseDataset):
    """The pairs of SPair-71k, an item for each class, so that an image is read once, in however many pairs it is.

    An item is ``dict(name=class, images=(n, 3, size, size) uint8 RGB, pairs=[Pair, ...])``. Images are padded at the right and at the
    bottom to squares of white, then resized (bicubic). Classes have different numbers of images, and cannot be stacked: use
    ``collate_fn=dict(type='mmdssl.list_samples')``. Pairs are in the order of their names.

    Args:
        data_root: Folder with ``JPEGImages/<class>``, ``PairAnnotation/<split>`` and ``Layout/large``.
        split: ``'test'`` (12,234 pairs), ``'val'`` or ``'trn'``: the list is ``Layout/large/<split>.txt``.
        size: Height and width.

    Raises:
        InputError: A list, a pair or an image is missing or cannot be used; what is missing, and wrong annotations, are found before the
            first item.
    """

    def __init__(self, data_root: str, split: Literal['test', 'val', 'trn'] = 'test', size: PositiveInt = 800):
        self.split = split
        self.size = size
        self.setting = dict(framework=f'{size}px')  # the published rows go by it
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        listed = Path(self.data_root, 'Layout/large', f'{self.split}.txt')
        names = sorted(read_lines(listed, 'pair', 'set data_root to the folder of SPair-71k, which holds JPEGImages, PairAnnotation and '
                                  'Layout'))
        files = [Path(self.data_root, 'PairAnnotation', self.split, f'{name}.json') for name in names]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise InputError(f"{len(missing)} of the {len(files)} pairs that '{listed}' names do not exist, first '{missing[0]}': complete "
                             'the data or take them off the list')
        classes: dict[str, list[tuple[str, dict]]] = {}
        for name, file in zip(names, files):
            pair = read_pair(file)
            classes.setdefault(pair['category'], []).append((name, pair))
        return [self._of_class(name, pairs, str(listed)) for name, pairs in sorted(classes.items())]

    def _of_class(self, name: str, annotations: list[tuple[str, dict]], source: str) -> dict:
        images = sorted({pair[f'{side}_imname'] for _, pair in annotations for side in ('src', 'trg')})
        paths = [str(Path(self.data_root, 'JPEGImages', name, image)) for image in images]
        missing = [path for path in paths if not Path(path).is_file()]
        if missing:
            raise InputError(f"{len(missing)} of the {len(paths)} images of the class {name} that the pairs of '{source}' need do not "
                             f"exist, first '{missing[0]}': complete the data or take their pairs off the list")
        place = {image: i for i, image in enumerate(images)}
        sizes = {pair[f'{side}_imname']: tuple(pair[f'{side}_imsize'][:2]) for _, pair in annotations for side in ('src', 'trg')}
        pairs = [Pair(file, place[pair['src_imname']], place[pair['trg_imname']], np.array(pair['src_kps'], float).reshape(-1, 2),
                      np.array(pair['trg_kps'], float).reshape(-1, 2), max(pair['src_imsize'][:2]), max(pair['trg_imsize'][:2]),
                      longer_side(pair['trg_bndbox']), pair['viewpoint_variation']) for file, pair in annotations]
        return dict(name=name, img_paths=paths, sizes=[sizes[image] for image in images], pairs=pairs)

    def __getitem__(self, index: int) -> dict:
        info = self.get_data_info(index)
        images = torch.stack([self._read(path, size) for path, size in zip(info['img_paths'], info['sizes'])])
        return dict(name=info['name'], images=images, pairs=info['pairs'])

    def _read(self, path: str, size: tuple[int, int]) -> Tensor:
        image = read_rgb(path)
        if image is None:
            raise InputError(f"'{path}' cannot be decoded: copy it again")
        if image.size != size:
            raise InputError(f"'{path}' has {image.width} x {image.height} pixels, and its pairs say {size[0]} x {size[1]}: the keypoints "
                             'would be elsewhere, take image and annotation from the same release')
        square = Image.new('RGB', (max(size), max(size)), (PADDING, ) * 3)
        square.paste(image, (0, 0))
        return F.pil_to_tensor(square.resize((self.size, self.size), Image.Resampling.BICUBIC))


def longer_side(box: tuple[float, float, float, float]) -> float:
    """Of a box ``(left, top, right, bottom)``."""
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def read_pair(file: Path) -> dict:
    """The annotation of a pair.

    Raises:
        InputError: It is none, or a keypoint is in only one of the images, or outside.
    """
    try:
        pair = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"pair '{file}' cannot be read ({error}): copy it again") from None
    for key, kind in KINDS.items():
        if not isinstance(pair, dict) or key not in pair:
            raise InputError(f"pair '{file}' has no '{key}': copy it again, or take it off the list")
        if not fits(pair[key], kind):
            wrong = [(key, pair[key], kind)]
            if kind is Points and isinstance(pair[key], list):
                wrong = [(f'{key}[{i}]', point, Point) for i, point in enumerate(pair[key]) if not fits(point, Point)]
            raise InputError(f"pair '{file}' has {refusal(*wrong[0])}")
    if len(pair['src_kps']) != len(pair['trg_kps']) or not pair['src_kps']:
        raise InputError(f"pair '{file}' has {len(pair['src_kps'])} keypoints in the source and {len(pair['trg_kps'])} in the target: it "
                         'needs as many in both, and at least one')
    for side in ('src', 'trg'):
        width, height = pair[f'{side}_imsize'][:2]
        for x, y in pair[f'{side}_kps']:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InputError(f"pair '{file}' has the keypoint ({x:g}, {y:g}) outside of '{pair[f'{side}_imname']}' of {width} x "
                                 f'{height} pixels: correct it, or take the pair off the list')
    if longer_side(pair['trg_bndbox']) <= 0:
        raise InputError(f"pair '{file}' has a box without area, trg_bndbox={pair['trg_bndbox']}: correct it, or take the pair off the "
                         'list')
    return pair
