"""Pictures of which places of two views a network takes for the same."""
from __future__ import annotations

import colorsys

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mmdssl.visualization.sheet import GAP, Tile, fitted, sheet, tile_side

FINE = 2  # drawn so many times larger, for smooth lines
RADIUS = 4


def draw_matches(first: Tensor, second: Tensor, matches: Tensor, similarity: Tensor, truth: Tensor, lines: int = 16) -> Image.Image:
    """Two views of each image side by side, and lines between the cells that match.

    Args:
        first: One view of each image, ``(B, 3, H, W)`` uint8.
        second: The other view.
        matches: For each of the S x S cells of the first view, row-major, its cell in the second, ``(B, S^2)``.
        similarity: How sure each match is, ``(B, S^2)``.
        truth: Where in the second view each cell really is, column and row in cells, ``(B, S^2, 2)``; outside of -0.5 to S - 0.5
            it is not in the view.
        lines: So many matches are drawn of each image, the surest ones of those cells that are in both views.
    """
    columns = 2 if len(first) > 1 else 1
    side = tile_side(-(-len(first) // columns), 2 * columns)
    near = is_near(matches, truth)
    there = is_visible(truth, matches.shape[1])
    tiles = [Tile(_pair(*pair, side, lines), f'{int((close & seen).sum())} of {int(seen.sum())} within a cell')
             for *pair, close, seen in zip(first, second, matches, similarity, near, there, near, there)]
    rows = [tiles[i:i + columns] for i in range(0, len(tiles), columns)]
    right = 100 * (near & there).sum() / there.sum().clamp(min=1)
    return sheet(rows, f'Which places of two views match: {right:.0f} % within a cell of the truth',
                 f'The {lines} surest matches of what both views show, by the cosine of the features; hollow: off by more than a cell.')


def is_near(matches: Tensor, truth: Tensor) -> Tensor:
    """Whether matches lie within a cell of the truth, as in :func:`draw_matches`, ``(B, S^2)``."""
    side = round(matches.shape[1]**0.5)
    places = torch.stack([matches % side, matches // side], dim=-1)
    return ((places - truth).abs() <= 1).all(-1)


def is_visible(truth: Tensor, cells: int) -> Tensor:
    """Whether the second view, of so many cells, shows a place."""
    return ((truth >= -0.5) & (truth <= cells**0.5 - 0.5)).all(-1)


def _pair(left: Tensor, right: Tensor, found: Tensor, sure: Tensor, near: Tensor, there: Tensor, side: int, lines: int) -> Image.Image:
    size, grid = FINE * side, round(len(found)**0.5)
    picture = Image.new('RGB', (2 * size + FINE * GAP, size), 'white')
    offset = size + FINE * GAP
    picture.paste(fitted(left, size), (0, 0))
    picture.paste(fitted(right, size), (offset, 0))
    draw = ImageDraw.Draw(picture)
    ranked = [cell for cell in sure.argsort(descending=True).tolist() if there[cell]]
    for cell in ranked[:lines]:
        colour = tuple(round(255 * level) for level in colorsys.hsv_to_rgb(cell / len(found), 1., 1.))
        start, end = _centre(cell, grid, size), _centre(int(found[cell]), grid, size)
        end = end[0] + offset, end[1]
        draw.line((start, end), colour, width=FINE)
        for x, y in (start, end):
            reach = FINE * RADIUS
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), colour if near[cell] else 'white', colour, width=FINE * 2)
    return picture.resize((picture.width // FINE, picture.height // FINE), Image.Resampling.BOX)


def _centre(cell: int, grid: int, size: int) -> tuple[float, float]:
    row, column = divmod(cell, grid)
    return (column + 0.5) * size / grid, (row + 0.5) * size / grid
