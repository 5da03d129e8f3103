"""Pictures of which places of two views a network takes for the same."""
from __future__ import annotations

import colorsys
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

GAP = 16


def draw_matches(first: Tensor, second: Tensor, matches: Tensor, similarity: Tensor, path: str | Path, lines: int = 16,
                 size: int = 224) -> None:
    """Write a picture, a row per image: its two views side by side, and lines between the cells that match.

    Args:
        first: One view of each image, ``(B, 3, H, W)`` uint8.
        second: The other view.
        matches: For each of the S x S cells of the first view, row-major, its cell in the second, ``(B, S^2)``.
        similarity: How sure each match is, ``(B, S^2)``.
        path: The PNG to write.
        lines: So many matches are drawn in each row, the surest ones.
        size: Side of a view in the picture in pixels.
    """
    side = round(matches.shape[1]**0.5)
    picture = Image.new('RGB', (2 * size + 3 * GAP, len(first) * (size + GAP) + GAP), 'white')
    draw = ImageDraw.Draw(picture)
    for row, (left, right, found, sure) in enumerate(zip(first.cpu(), second.cpu(), matches.cpu(), similarity.cpu())):
        top = GAP + row * (size + GAP)
        for view, x in ((left, GAP), (right, 2 * GAP + size)):
            picture.paste(to_pil_image(view).resize((size, size)), (x, top))
        for cell in sure.argsort(descending=True)[:lines].tolist():
            ends = [(x + centre[0], top + centre[1]) for x, centre in
                    ((GAP, _centre(cell, side, size)), (2 * GAP + size, _centre(int(found[cell]), side, size)))]
            colour = tuple(round(255 * level) for level in colorsys.hsv_to_rgb(cell / len(found), 1., 1.))
            draw.line(ends, colour, width=2)
            for x, y in ends:
                draw.ellipse((x - 4, y - 4, x + 4, y + 4), colour)
    picture.save(path)


def _centre(cell: int, side: int, size: int) -> tuple[float, float]:
    row, column = divmod(cell, side)
    return (column + 0.5) * size / side, (row + 0.5) * size / side
