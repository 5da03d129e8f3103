"""The data sets that representations are transferred to, in the layouts that torchvision reads."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets

from mmdssl.arguments import NonEmpty, PositiveInt
from mmdssl.datasets.images import NOT_OF_THE_FILE, to_rgb
from mmdssl.datasets.labelled_folder import UNREADABLE, centre_crop
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

# What is known of a class of an image that has several: absent, present, or present but too difficult to count (VOC).
ABSENT, PRESENT, DIFFICULT = 0, 1, 2

VOC_CLASSES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse',
               'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
CALTECH_TRAIN = 30  # images of each class


class TransferSet(NamedTuple):
    """A data set.

    Attributes:
        reader: torchvision's class, or a function of the same arguments.
        splits: By name, the arguments for that part.
        num_classes: Number of classes.
        measure: What is reported of it: ``'top1'``, ``'mean_per_class'`` or ``'map11'``.
        places: Its folders, and files that are in none of them, below the root.
        layout: What lies in the root.
    """
    reader: Callable
    splits: Mapping[str, Mapping]
    num_classes: int
    measure: str
    places: Sequence[str]
    layout: str


class _Caltech101(Dataset):
    """Thirty images of every class, drawn, to train on, and the others to test on; the background is no class."""

    def __init__(self, root: str, train: bool, download: bool = False):
        self.source = datasets.Caltech101(root, download=download)
        self.classes = self.source.categories
        labels, order = np.array(self.source.y), np.random.default_rng(0)
        drawn = [order.permutation(np.flatnonzero(labels == label))[:CALTECH_TRAIN] for label in range(len(self.classes))]
        self.chosen = np.flatnonzero(np.isin(np.arange(len(labels)), np.concatenate(drawn)) == train)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.source[self.chosen[index]]


class _VOC(Dataset):
    """VOC 2007 for classification: a label says of each class whether an object of it is there."""
    classes = VOC_CLASSES

    def __init__(self, root: str, image_set: str, download: bool = False):
        self.source = datasets.VOCDetection(root, '2007', image_set, download)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Image.Image, Tensor]:
        image, tree = self.source[index]
        states = torch.full((len(VOC_CLASSES), ), ABSENT)
        for found in tree['annotation']['object']:
            label = VOC_CLASSES.index(found['name'])
            easy = found.get('difficult', '0') == '0'
            states[label] = PRESENT if easy or states[label] == PRESENT else DIFFICULT
        return image, states


class _Listed(Dataset):
    """Images named in a list, for data sets of which torchvision reads all parts at once."""

    def __init__(self, classes: Sequence[str], items: list[tuple[str, int]]):
        self.classes = classes
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.items[index]
        return Image.open(path), label


def _sun397(root: str, part: str, download: bool = False) -> _Listed:
    source, folder = datasets.SUN397(root, download=download), Path(root, 'SUN397')
    lines = (folder / 'Partitions' / f'{part}_01.txt').read_text().split()
    # /a/abbey/sun_x.jpg is of the class abbey
    return _Listed(source.classes, [(str(folder / line[1:]), source.class_to_idx[line[3:].rpartition('/')[0]]) for line in lines])


def _inaturalist(root: str, year: str, part: str, download: bool = False) -> _Listed:
    source = datasets.INaturalist(root, year, download=download)
    images = json.loads(Path(root, f'{part}{year}.json').read_text())['images']
    label_of = {name: label for label, name in enumerate(source.all_categories)}
    # train_val2018/Plantae/7477/x.jpg, of which torchvision renames the first folder to the year
    places = [Path(*Path(image['file_name']).parts[1:]) for image in images]
    return _Listed(source.all_categories, [(str(Path(root, year, place)), label_of[str(place.parent)]) for place in places])


class _INaturalist2021(datasets.INaturalist):

    @property
    def classes(self) -> list[str]:
        return self.all_categories


FLAG = dict(train=dict(train=True), test=dict(train=False))
TWO_PARTS = dict(train=dict(split='train'), test=dict(split='test'))
THREE_PARTS = dict(train=dict(split='train'), val=dict(split='val'), test=dict(split='test'))
TRANSFER_SETS = {
    'food101': TransferSet(
        datasets.Food101, TWO_PARTS, 101, 'top1', ['food-101'], 'food-101/images/<class>/*.jpg and food-101/meta/{train,test}.json'),
    'cifar10': TransferSet(
        datasets.CIFAR10, FLAG, 10, 'top1', ['cifar-10-batches-py'], 'cifar-10-batches-py of the Python version'),
    'cifar100': TransferSet(
        datasets.CIFAR100, FLAG, 100, 'top1', ['cifar-100-python'], 'cifar-100-python of the Python version'),
    'cars': TransferSet(
        datasets.StanfordCars, TWO_PARTS, 196, 'top1', ['stanford_cars'],
        'stanford_cars/{cars_train,cars_test}/*.jpg, stanford_cars/devkit, stanford_cars/cars_test_annos_withlabels.mat'),
    'aircraft': TransferSet(
        datasets.FGVCAircraft, THREE_PARTS, 100, 'mean_per_class', ['fgvc-aircraft-2013b'], 'fgvc-aircraft-2013b/data of the archive'),
    'pets': TransferSet(
        datasets.OxfordIIITPet, dict(TWO_PARTS, train=dict(split='trainval')), 37, 'mean_per_class', ['oxford-iiit-pet'],
        'oxford-iiit-pet/images/*.jpg and oxford-iiit-pet/annotations/{trainval,test}.txt'),
    'flowers': TransferSet(
        datasets.Flowers102, THREE_PARTS, 102, 'mean_per_class', ['flowers-102'], 'flowers-102/{jpg/*.jpg,imagelabels.mat,setid.mat}'),
    'dtd': TransferSet(
        datasets.DTD, THREE_PARTS, 47, 'top1', ['dtd'], 'dtd/dtd/{images,labels} of the archive'),
    'caltech101': TransferSet(
        _Caltech101, FLAG, 101, 'mean_per_class', ['caltech101'],
        'caltech101/101_ObjectCategories/<class>/image_0001.jpg, BACKGROUND_Google among the classes'),
    'voc07': TransferSet(
        _VOC, {split: dict(image_set=split) for split in THREE_PARTS}, 20, 'map11', ['VOCdevkit/VOC2007'],
        'VOCdevkit/VOC2007/{JPEGImages,Annotations,ImageSets/Main}, the test images among the others'),
    'sun397': TransferSet(
        _sun397, dict(train=dict(part='Training'), test=dict(part='Testing')), 397, 'top1', ['SUN397'],
        'SUN397/<letter>/<class>/*.jpg, SUN397/ClassName.txt and SUN397/Partitions/{Training,Testing}_01.txt'),
    'inat18': TransferSet(
        _inaturalist, dict(train=dict(year='2018', part='train'), test=dict(year='2018', part='val')), 8142, 'top1',
        ['2018', 'train2018.json', 'val2018.json'], '2018/<kingdom>/<number>/*.jpg, train2018.json and val2018.json'),
    'inat19': TransferSet(
        _inaturalist, dict(train=dict(year='2019', part='train'), test=dict(year='2019', part='val')), 1010, 'top1',
        ['2019', 'train2019.json', 'val2019.json'], '2019/<kingdom>/<number>/*.jpg, train2019.json and val2019.json'),
    'inat21': TransferSet(
        _INaturalist2021, dict(train=dict(version='2021_train'), test=dict(version='2021_valid')), 10000, 'top1',
        ['2021_train', '2021_valid'], '{2021_train,2021_valid}/<class>/*.jpg'),
}


@DATASETS.register_module()
class TransferDataset(BaseDataset):
    """A labelled data set that others made, cropped the same way every time.

    Items are those of :class:`mmdssl.datasets.LabelledFolder`. Names of images begin with that of their split. Images of VOC have several
    classes: their label says of each ``ABSENT`` (0), ``PRESENT`` (1) or ``DIFFICULT`` (2).

    Where a data set has an official part for validation, ``split=['train', 'val']`` is all that is trained on in the end. Caltech-101 has
    no parts: 30 images of each class are drawn, always the same; its background, a class for Kornblith et al. (2019), is none here. Of
    iNaturalist the official validation images are ``'test'``. DTD and SUN397 are their first partitions.

    Args:
        name: Of ``TRANSFER_SETS``.
        data_root: Folder below which it lies as torchvision reads it; its ``layout`` in ``TRANSFER_SETS``.
        split: One or several of its parts.
        resize: Length the short side is resized to (bicubic, antialiased).
        size: Side of the centre crop after that.
        download: Let torchvision download what is missing, where it can.

    Attributes:
        classes: Names of the classes.
        measure: What is reported of this data set.

    Raises:
        InputError: It has no such part, or does not lie there as it should.
    """

    def __init__(self, name: Literal[tuple(TRANSFER_SETS)], data_root: str, split: str | Annotated[Sequence[str], NonEmpty] = 'train',
                 resize: PositiveInt = 224, size: PositiveInt = 224, download: bool = False):
        if size > resize:
            raise InputError(f'size={size} is larger than resize={resize}: the crop must fit into the resized image')
        self.name = name
        self.source = TRANSFER_SETS[name]
        self.splits = [split] if isinstance(split, str) else list(split)
        self.resize = resize
        self.size = size
        self.download = download
        self.measure = self.source.measure
        self.classes: list[str] = []
        self.parts: dict[str, Dataset] = {}
        unknown = [part for part in self.splits if part not in self.source.splits]
        if unknown:
            raise InputError(f"split='{unknown[0]}' of {name}: it has {', '.join(self.source.splits)}")
        super().__init__(data_root=data_root)

    def load_data_list(self) -> list[dict]:
        return [info for split in self.splits for info in self._read(split)]

    def _read(self, split: str) -> list[dict]:
        if not os.path.isdir(self.data_root) and not self.download:  # some of torchvision's classes would make the folder
            raise InputError(f"'{self.data_root}' is not a folder: {self.name} needs one with {self.source.layout}")
        try:
            part = self.source.reader(self.data_root, **self.source.splits[split], download=self.download)
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            reason = ' '.join(str(error).replace('You can use download=True to download it', '').split())
            raise InputError(f"{self.name} cannot be read from '{self.data_root}' ({type(error).__name__}: {reason:.200}): it needs "
                             f'{self.source.layout} there') from None
        self.parts[split], self.classes = part, list(part.classes)
        if len(self.classes) != self.source.num_classes or not len(part):
            raise InputError(f"{self.name} in '{self.data_root}' has {len(part)} images of {len(self.classes)} classes in its part "
                             f"'{split}', and it should have {self.source.num_classes} classes: complete the copy")
        return [dict(name=f'{split}/{self.name}/{i:06d}', split=split, position=i) for i in range(len(part))]

    def files(self) -> list[str]:
        """All that its images and labels come from, sorted."""
        places = [os.path.join(self.data_root, place) for place in self.source.places]
        return sorted([place for place in places if os.path.isfile(place)]
                      + [os.path.join(parent, name) for place in places for parent, _, names in os.walk(place) for name in names])

    def read(self, index: int) -> tuple[Image.Image | None, int | Tensor]:
        """The RGB image and its label; None, and ``UNREADABLE`` for a label, where it cannot be decoded."""
        info = self.get_data_info(index)
        try:
            image, label = self.parts[info['split']][info['position']]
            return to_rgb(image), label if isinstance(label, Tensor) else int(label)
        except Exception as error:  # on broken data, decoders raise almost anything
            if isinstance(error, MemoryError) or getattr(error, 'errno', None) in NOT_OF_THE_FILE:
                raise
            return None, torch.full((len(self.classes), ), UNREADABLE) if self.measure == 'map11' else UNREADABLE

    def __getitem__(self, index: int) -> dict:
        image, label = self.read(index)
        if image is None:
            return dict(image=torch.zeros(3, self.size, self.size, dtype=torch.uint8), label=label, index=index)
        return dict(image=centre_crop(image, self.resize, self.size), label=label, index=index)
