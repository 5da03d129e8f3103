"""Pictures of what a network attends to."""
from __future__ import annotations

import math

from PIL import Image
from torch import Tensor

from mmdssl.visualization.sheet import Scale, Tile, fitted, heated, sheet, tile_side

HEADS = 6  # side by side


def draw_attention(images: Tensor, maps: Tensor, random: Tensor | None = None) -> Image.Image:
    """A row per image, or more where there are many heads: the image, the mean of the heads, each head; of random weights the mean.

    Args:
        images: ``(B, 3, H, W)`` uint8, as tall as they are wide.
        maps: How much each head attends to each place, ``(B, heads, h, w)``; a single one is any map.
        random: Those of the same network with random weights, to compare with.
    """
    maps = maps.float().cpu()
    heads = maps.shape[1]
    per_row = math.ceil(heads / math.ceil(heads / HEADS))
    lines = math.ceil(heads / per_row)
    side = tile_side(len(images) * lines, (2 + per_row if heads > 1 else 2) + (random is not None))

    def tile(image: Tensor, values: Tensor, name: str) -> Tile:
        low, high = values.min(), values.max()
        return Tile(heated(image, (values - low) / (high - low).clamp(min=1e-12), side), f'{name}: {low:.1f}-{high:.1f} x')
    rows = []
    untrained = [None] * len(images) if random is None else _of_even(random.float().cpu())
    for image, of_heads, of_random in zip(images, _of_even(maps), untrained):
        row: list[Tile | None] = [Tile(fitted(image, side))]
        if of_random is not None:
            row.append(tile(image, of_random.mean(0), 'random'))
        if heads > 1:
            row.append(tile(image, of_heads.mean(0), 'mean'))
        for line in range(lines):
            chunk = range(line * per_row, min(heads, (line + 1) * per_row))
            rows.append([*(row if line == 0 else [None] * len(row)),
                         *(tile(image, of_heads[i], f'head {i + 1}' if heads > 1 else 'map') for i in chunk)])
    note = 'Numbers: the range of a map, as multiples of even attention'
    return sheet(rows, 'Attention of the class token to the patches, last block' if heads > 1 else 'Where the network looks',
                 f'{note}; random: with random weights.' if random is not None else f'{note}.', scale=Scale('least', 'most'))


def _of_even(maps: Tensor) -> Tensor:
    """Maps as multiples of even attention."""
    return maps / maps.mean((2, 3), keepdim=True).abs().clamp(min=1e-12)
