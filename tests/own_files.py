"""Data as people have them: fruits labelled in a tool, photographs with masks, clips."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FRUITS = dict(apple=(200, 30, 30), pear=(60, 160, 50), plum=(110, 40, 140))
SIZE = (64, 48)


def picture(number: int) -> tuple[Image.Image, np.ndarray, list[tuple[int, list[int]]]]:
    """A photograph, the ids of its pixels, and fruits with their boxes; every fifth has none, number 3 first."""
    rng = np.random.default_rng(number)
    image, mask = Image.fromarray(rng.integers(60, 200, (6, 8, 3), dtype=np.uint8)).resize(SIZE), Image.new('L', SIZE)
    boxes = []
    for i, colour in enumerate(FRUITS.values()):
        x, y = 2 + 21 * i, int(rng.integers(2, 30))
        if number % 5 != 3:
            ImageDraw.Draw(image).ellipse([x, y, x + 16, y + 16], colour)
            ImageDraw.Draw(mask).ellipse([x, y, x + 16, y + 16], i + 1)
            boxes.append((i, [x, y, 16, 16]))
    return image, np.array(mask), boxes


def write_fruits(root: Path, file: str = 'fruits.json', images: str = 'images', numbers: range = range(12),
                 change=lambda coco: None) -> Path:
    """``root/images/*.jpg`` and ``root/fruits.json``, after ``change(json)``."""
    coco = dict(images=[], annotations=[], categories=[dict(id=3 + 2 * i, name=name) for i, name in enumerate(FRUITS)])
    (root / images).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image, _, boxes = picture(number)
        image.save(root / images / f'IMG_{number:04d}.jpg')
        coco['images'].append(dict(id=number, file_name=f'IMG_{number:04d}.jpg', width=SIZE[0], height=SIZE[1]))
        for category, (x, y, w, h) in boxes:
            coco['annotations'].append(dict(
                id=len(coco['annotations']) + 1, image_id=number, category_id=3 + 2 * category, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
    change(coco)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(coco))
    return root


def write_masks(root: Path, number: int = 12, images: str = 'images', masks: str = 'masks', change=lambda ids: ids, suffix: str = '.png',
                mask_suffix: str = '.png') -> Path:
    """``root/images/*.png`` and ``root/masks/*.png``, whose ids are changed by ``change(ids)``."""
    for folder in (images, masks):
        (root / folder).mkdir(parents=True)
    for i in range(number):
        image, ids, _ = picture(i)
        image.save(root / images / f'photo {i}{suffix}')
        Image.fromarray(change(ids)).save(root / masks / f'photo {i}{mask_suffix}')
    return root


def write_clips(root: Path, frames: str = 'clips', masks: str = 'masks', level: int = 1, names: tuple[str, ...] = ('cat', 'dog'),
                length: int = 4) -> Path:
    """``root/clips/cat/00000.jpg`` and ``root/masks/cat/00000.png``: a square that moves, of one id."""
    for number, name in enumerate(names):
        for folder in (frames, masks):
            (root / folder / name).mkdir(parents=True)
        for t in range(length):
            image, mask = picture(number)[0].resize((128, 96)), Image.new('L', (128, 96))
            box = [20 + 8 * t, 30, 59 + 8 * t, 69]
            ImageDraw.Draw(image).rectangle(box, (220, 210, 30))
            ImageDraw.Draw(mask).rectangle(box, level)
            image.save(root / frames / name / f'{t:05d}.jpg')
            mask.save(root / masks / name / f'{t:05d}.png')
    return root


def write_davis2016(root: Path, level: int = 255) -> Path:
    """As DAVIS-2016 is laid out: lists of frames with their masks, which are 0 and 255."""
    write_clips(root, 'JPEGImages/480p', 'Annotations/480p', level)
    (root / 'ImageSets/480p').mkdir(parents=True)
    (root / 'ImageSets/480p/val.txt').write_text(''.join(
        f'/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png\n' for name in ('cat', 'dog') for t in range(4)))
    return root
