"""A world whose answer is known: images with objects of one colour each, in the layout of VOC and of saliency, and features of colours."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

PATCH, STEP = 8, 60  # pixels of a patch, and levels of red between two objects


class ColourBackbone(nn.Module):
    """Its keys of a patch are the one-hot number of the object in its upper left pixel, its class token attends to objects.

    Args:
        shuffled: Give the features of an image to its patches at random.
    """
    patch_size, num_blocks, pool = PATCH, 1, 'mean'

    def __init__(self, shuffled: bool = False):
        super().__init__()
        self.shuffled = shuffled
        self.weight = nn.Parameter(torch.zeros(1))

    def ids(self, images: Tensor) -> Tensor:
        red = images[:, 0, ::PATCH, ::PATCH] * 58.395 + 123.675
        ids = (red / STEP).round().long()
        return ids.flatten()[torch.randperm(ids.numel())].view(ids.shape) if self.shuffled else ids

    def intermediates(self, images: Tensor, blocks, facet: str, norm: bool) -> list[tuple[None, Tensor]]:
        assert facet == 'key' and images.shape[-1] % PATCH == images.shape[-2] % PATCH == 0
        return [(None, F.one_hot(self.ids(images).flatten(1), 5).float())]

    def attention_maps(self, images: Tensor) -> Tensor:
        return (self.ids(images)[:, None] == 1).float().expand(-1, 2, -1, -1) + 1e-6


def make_colours(root: Path, number: int = 12, objects: int = 1, ragged: bool = True, seed: int = 0) -> Path:
    """Write ``JPEGImages``, ``Annotations``, ``ImageSets/Main/trainval.txt`` and ``masks``; returns the root.

    The first object is at the lower right edge of every other image, where that is ragged: no whole number of patches.
    """
    rng = np.random.default_rng(seed)
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main', 'masks'):
        (root / folder).mkdir(parents=True)
    for i in range(number):
        height, width = 10 * PATCH + (int(rng.integers(1, PATCH)) if ragged else 0), 12 * PATCH + (3 if ragged else 0)
        ids = np.zeros((height, width), np.uint8)
        boxes = []
        for k in range(objects):
            rows, columns = rng.integers(2, 4, 2)
            if k == 0 and i % 2:
                upper, left, lower, right = height - height % PATCH - rows * PATCH, width - width % PATCH - columns * PATCH, height, width
            else:
                upper, left = (0 if k == 0 else 6) * PATCH, (1 + 4 * k) % 6 * PATCH
                lower, right = upper + rows * PATCH, left + columns * PATCH
            ids[upper:lower, left:right] = k + 1
            boxes.append((left + 1, upper + 1, right, lower))  # as VOC counts
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = ids * STEP
        Image.fromarray(pixels).save(root / f'JPEGImages/{i:02d}.jpg', format='PNG')  # whose levels stay as they are
        Image.fromarray(np.uint8(255 * (ids > 0))).save(root / f'masks/{i:02d}.png')
        found = ''.join(f'<object><name>thing</name><difficult>{i % 2}</difficult><bndbox>'
                        + ''.join(f'<{side}>{edge}</{side}>' for side, edge in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
                        + '</bndbox></object>' for box in boxes)
        (root / f'Annotations/{i:02d}.xml').write_text(f'<annotation><filename>{i:02d}.jpg</filename>{found}</annotation>')
    (root / 'ImageSets/Main/trainval.txt').write_text('\n'.join(f'{i:02d}' for i in range(number)))
    return root
