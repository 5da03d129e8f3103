"""How fast views are made from JPEGs on one core, against the recipe of DINO's authors.

    python tools/analysis/data_speed.py [FOLDER] [--rounds 9] [--images 8] [--out data_speed.jsonl]

FOLDER holds photographs to use in place of generated ones. In each round, all ways are timed one after another on the same images, in
seconds of this process and not of the clock. Printed are the medians over rounds, of the ratios to the authors' recipe of the same round
the median, lowest and highest, and what the least time of each image and draw comes to, on which a machine that does other things counts
least (caches and cores are shared):

- ``pillow`` and ``fast``: ``backend`` of the dataset; ``fast`` decodes large photographs at a part of their size.
- ``device``: what is left to the core with ``photometric_device=True``; ``finish`` is what the device does then, for 8 images at once
  (on a GPU in milliseconds of the clock, else on this core).
"""
from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from mmengine.device import get_device
from PIL import Image, ImageFilter, ImageOps
from rich.console import Console
from rich.table import Table
from torchvision import transforms as T

from mmdssl.cli.guard import guarded
from mmdssl.datasets import ImageFolder, Views
from mmdssl.datasets.images import find_images
from mmdssl.datasets.preprocessor import adjusted
from mmdssl.datasets.seeding import seeded
from mmdssl.results.records import append_record

SMALL, LARGE = (500, 375), (4000, 3000)
GLOBAL = dict(size=224, scale=(0.25, 1.0), photometric=[dict(blur_prob=1.0), dict(blur_prob=0.1, solarize_prob=0.2)])
LOCAL = dict(num=10, size=96, scale=(0.05, 0.25), photometric=dict(blur_prob=0.5))
VIEWS = {'2': dict(global_=GLOBAL), '2 + 10': dict(global_=GLOBAL, local=LOCAL)}
WAYS = dict(pillow=dict(), fast=dict(backend='fast', scaled_decoding=True),
            device=dict(backend='fast', scaled_decoding=True, photometric_device=True))
BATCH = 8
DRAWS = 2  # of each image


class Blur:
    def __init__(self, probability: float):
        self.probability = probability

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() > self.probability:
            return image
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


class Solarize:
    def __call__(self, image: Image.Image) -> Image.Image:
        return ImageOps.solarize(image) if random.random() < 0.2 else image


def authors_recipe(local: bool) -> Callable[[str], list[torch.Tensor]]:
    """The views of DINO (https://arxiv.org/abs/2104.14294) with torchvision and Pillow."""
    def view(size: int, scale: tuple[float, float], *last) -> T.Compose:
        return T.Compose([
            T.RandomResizedCrop(size, scale, interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8), T.RandomGrayscale(0.2), *last,
            T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])

    views = [view(224, (0.25, 1.0), Blur(1.0)), view(224, (0.25, 1.0), Blur(0.1), Solarize())]
    views += [view(96, (0.05, 0.25), Blur(0.5))] * 10 if local else []

    def load(path: str) -> list[torch.Tensor]:
        with open(path, 'rb') as file:
            image = Image.open(file).convert('RGB')
        return [one(image) for one in views]
    return load


def photograph(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Structure at all scales, as photographs have it: each octave is half as strong as the one before; and a sensor's noise."""
    width, height = size
    pixels = np.full((height, width, 3), 128, np.float32)
    for octave in range(2, 9):
        grid = rng.normal(0, 110 * 2**(1 - octave / 2), (min(height, 3 * 2**(octave - 2)), min(width, 2**octave), 3)).astype(np.float32)
        pixels += cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    pixels += rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def cpu_ms(work: Callable, *args) -> float:
    """Milliseconds of this process."""
    start = time.process_time()
    work(*args)
    return 1000 * (time.process_time() - start)


def measure(root: str, views: str, rounds: int) -> dict[str, np.ndarray]:
    """By way, milliseconds ``(rounds, pieces of work)`` for an image."""
    paths = find_images(root)
    recipe = authors_recipe('10' in views)
    keys = [(0, draw, i) for draw in range(DRAWS) for i in range(len(paths))]

    def authors(key):
        with seeded(*key):
            return recipe(paths[key[2]])

    datasets = {name: ImageFolder(root, views=VIEWS[views], **arguments) for name, arguments in WAYS.items()}
    batch = Views.collate([datasets['device'][keys[i % len(keys)]] for i in range(BATCH)])
    works = {'authors': authors, **{name: dataset.__getitem__ for name, dataset in datasets.items()}}
    found: dict[str, list] = {name: [] for name in [*works, 'finish']}
    for round_ in range(-1, rounds):
        spent = {name: [cpu_ms(work, key) for key in keys] for name, work in works.items()}
        spent['finish'] = [finish_ms(batch)]
        for name in found if round_ >= 0 else ():  # the first warms up
            found[name].append(spent[name])
    return {name: np.array(spent) for name, spent in found.items()}


def finish_ms(batch: Views) -> float:
    device = get_device()
    if device == 'cpu':
        return cpu_ms(adjusted, batch) / BATCH
    adjusted(batch, device)
    torch.cuda.synchronize()
    start = time.perf_counter()
    adjusted(batch, device)
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / BATCH


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', help='of photographs')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--images', type=int, default=8, help='generated of each size')
    parser.add_argument('--views', nargs='+', choices=VIEWS, default=[*VIEWS])
    parser.add_argument('--large', nargs=2, type=int, default=LARGE, metavar=('WIDTH', 'HEIGHT'), help='of the large ones')
    parser.add_argument('--out', type=Path, help='append a JSON record of each row')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    table = Table(*['images', 'views', 'way', 'ms of a core', 'times as fast', 'lowest', 'highest', 'least ms', 'times as fast'])
    with tempfile.TemporaryDirectory() as scratch:
        roots = {args.folder: args.folder} if args.folder else {}
        for size in () if args.folder else (SMALL, tuple(args.large)):
            name = '{} x {}'.format(*size)
            roots[name] = os.path.join(scratch, name)
            os.mkdir(roots[name])
            for i in range(args.images if size == SMALL else max(1, args.images // 4)):
                photograph(size, np.random.default_rng(i)).save(f'{roots[name]}/{i}.jpg', quality=90)
        for name, root in roots.items():
            for views in args.views:
                rows = measure(root, views, args.rounds)
                for way, spent in rows.items():
                    ratios = (rows['authors'].mean(1) / spent.mean(1)).tolist()
                    record = dict(ms=median(spent.mean(1).tolist()), ratio=median(ratios), lowest=min(ratios), highest=max(ratios))
                    record['least_ms'] = float(spent.min(0).mean())
                    record['least_ratio'] = float(rows['authors'].min(0).mean()) / record['least_ms']
                    table.add_row(name, views, way, *(f'{number:.2f}' for number in record.values()))
                    if args.out:
                        append_record(args.out, benchmark='data_speed', images=name, views=views, way=way, rounds=args.rounds, **record)
    Console(width=120).print(table)
    return 0


if __name__ == '__main__':
    sys.exit(guarded(main))
