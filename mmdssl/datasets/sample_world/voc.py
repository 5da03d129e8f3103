"""Gatherings of things in the layout of Pascal VOC 2012 (the folder ``VOCdevkit/VOC2012``)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from mmdssl.datasets.palette import VOID, save_mask

from . import scenes
from .files import SCENE_SIZE, box_of, save
from .render import FIRST_THING, render

CLASSES = ('background', *scenes.KINDS)
_VISIBLE = 16  # pixels inside the contour that an object needs: with fewer it is void


def write(folder: Path, rng: np.random.Generator, split: str, index: int) -> str:
    """One image with its boxes and masks, of one object at least; returns its name."""
    objects: list[int] = []
    while not objects:
        scene = scenes.gathering(rng, rng.integers(1, 6), False)
        image, numbers = render(scene, *SCENE_SIZE)
        kinds = [number for number, thing in enumerate(scene.things, FIRST_THING) if thing.shape in scenes.KINDS]
        shown = np.where(np.isin(numbers, kinds), numbers, 0)
        contour = maximum_filter(shown, 3) != minimum_filter(shown, 3)
        inside = np.bincount(shown[~contour], minlength=FIRST_THING + len(scene.things))
        objects = [number for number in kinds if inside[number] >= _VISIBLE]
    labels = {number: CLASSES.index(scene.things[number - FIRST_THING].shape) for number in objects}
    ids = {number: i for i, number in enumerate(objects, 1)}
    name = f'{2011 if split == "train" else 2012}_{index + 1:06d}'
    save(Image.fromarray(image), folder / f'JPEGImages/{name}.jpg')
    for kind, values in (('Class', labels), ('Object', ids)):
        table = np.full(FIRST_THING + len(scene.things), VOID, np.uint8)
        table[0] = 0
        table[list(values)] = list(values.values())
        save_mask(np.where(contour, np.uint8(VOID), table[shown]), folder / f'Segmentation{kind}/{name}.png')
    boxes = [(CLASSES[labels[number]], box_of(numbers == number)) for number in objects]
    _write_boxes(folder / f'Annotations/{name}.xml', boxes)
    return name


def _write_boxes(path: Path, boxes: list[tuple[str, tuple[int, int, int, int]]]) -> None:
    """Corners are of the first and of the last pixel, counted from 1."""
    width, height = SCENE_SIZE
    tree = _element('annotation', folder='VOC2012', filename=f'{path.stem}.jpg', source=dict(database='mmdssl sample world'),
                    size=dict(width=width, height=height, depth=3), segmented=1)
    for name, (left, top, right, bottom) in boxes:
        cut = left == 0 or top == 0 or right == width or bottom == height
        tree.append(_element('object', name=name, pose='Unspecified', truncated=int(cut), difficult=0,
                             bndbox=dict(xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)))
    ElementTree.indent(tree, '\t')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ElementTree.tostring(tree, encoding='unicode') + '\n')


def _element(tag: str, **children: str | int | dict) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    for name, value in children.items():
        child = _element(name, **value) if isinstance(value, dict) else ElementTree.Element(name)
        child.text = child.text if isinstance(value, dict) else str(value)
        element.append(child)
    return element


def write_lists(folder: Path, names: Mapping[str, Sequence[str]]) -> None:
    """The lists of images, all of which have boxes and masks, and the names of the classes, the first of number 0."""
    lists = dict(train=names['train'], trainaug=names['train'], val=names['val'], trainval=[*names['train'], *names['val']])
    for task in ('Main', 'Segmentation'):
        (folder / 'ImageSets' / task).mkdir(parents=True, exist_ok=True)
        for split, some in lists.items():
            (folder / f'ImageSets/{task}/{split}.txt').write_text(''.join(f'{name}\n' for name in some))
    (folder / 'classes.txt').write_text(''.join(f'{name}\n' for name in CLASSES))
