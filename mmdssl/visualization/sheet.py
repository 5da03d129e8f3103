"""Tiles in rows, with a title, captions and a colour scale: the frame of all pictures here."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

WIDTH, HEIGHT = 1200, 1150  # of a screen, which a picture should not leave
LARGEST = 240
MARGIN, GAP = 12, 8
TITLE, TEXT = 18, 12  # of letters, in pixels
INK, PAPER = (30, 30, 30), (255, 255, 255)
BAR = (160, 12)


class Tile(NamedTuple):
    """A picture with some words below it."""
    picture: Image.Image
    caption: str = ''


class Scale(NamedTuple):
    """What the darkest and the brightest colour of :func:`heat` stand for."""
    low: str
    high: str


def tile_side(rows: int, columns: int) -> int:
    """Pixels that the side of a tile may have, so that a sheet of so many fits a screen."""
    across = (WIDTH - 2 * MARGIN + GAP) // columns - GAP
    down = (HEIGHT - 2 * MARGIN - 3 * TITLE) // rows - GAP - 2 * TEXT
    return max(48, min(LARGEST, across, down))


def sheet(rows: Sequence[Sequence[Tile | Image.Image | None]], title: str, note: str = '', columns: Sequence[str] = (),
          scale: Scale | None = None) -> Image.Image:
    """Tiles, cut or resized by nobody, each in the middle of its cell; None leaves a cell empty.

    Args:
        rows: Of tiles, not all of which need have as many.
        title: Of the whole.
        note: A line on how to read it.
        columns: Titles of the columns.
        scale: Of the colours.
    """
    rows = [[tile if tile is None or isinstance(tile, Tile) else Tile(tile) for tile in row] for row in rows]
    tiles = [tile for row in rows for tile in row if tile]
    side = max(tile.picture.width for tile in tiles)
    letters = ImageFont.load_default(TEXT)
    captioned = any(tile.caption for tile in tiles)
    heading = MARGIN + TITLE + GAP + (TEXT + GAP if note or scale else 0) + (TEXT + GAP if columns else 0)
    heights = [max(tile.picture.height for tile in row if tile) + (TEXT + 4 if captioned else 0) + GAP for row in rows]
    bar = (letters.getlength(scale.low) + letters.getlength(scale.high) + BAR[0] + 4 * GAP) if scale else 0
    wide = 2 * MARGIN + max(max(map(len, rows)) * (side + GAP) - GAP, math.ceil(ImageFont.load_default(TITLE).getlength(title)),
                            math.ceil(letters.getlength(note) + bar))
    picture = Image.new('RGB', (wide, heading + sum(heights) + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(TITLE))
    line = MARGIN + TITLE + GAP
    draw.text((MARGIN, line), note, INK, letters)
    if scale:
        _draw_scale(picture, draw, (MARGIN + (round(letters.getlength(note)) + 3 * GAP if note else 0), line), scale, letters)
    for i, name in enumerate(columns):
        draw.text((MARGIN + i * (side + GAP), heading - TEXT - GAP), name, INK, letters)
    top = heading
    for row, height in zip(rows, heights):
        for i, tile in enumerate(row):
            if tile:
                left = MARGIN + i * (side + GAP)
                picture.paste(tile.picture, (left + (side - tile.picture.width) // 2, top))
                draw.text((left, top + tile.picture.height + 1), tile.caption, INK, letters)
        top += height
    return picture


def _draw_scale(picture: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], scale: Scale,
                letters: ImageFont.FreeTypeFont) -> None:
    left, top = place
    draw.text((left, top), scale.low, INK, letters)
    left += round(letters.getlength(scale.low)) + GAP
    picture.paste(Image.fromarray(np.broadcast_to(heat(np.linspace(0, 1, BAR[0]))[None], (BAR[1], BAR[0], 3)).copy()), (left, top + 1))
    draw.text((left + BAR[0] + GAP, top), scale.high, INK, letters)


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of values in 0..1, ``(...)`` to uint8 RGB ``(..., 3)``, from black over red to pale yellow."""
    levels = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    return cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_INFERNO)[..., ::-1].reshape(*values.shape, 3)


def fitted(image: Tensor | Image.Image, side: int) -> Image.Image:
    """An image, ``(3, H, W)`` uint8 or in 0..1, as large as a square of ``side`` holds it."""
    if isinstance(image, Tensor):
        image = to_pil_image(image.cpu())
    share = side / max(image.size)
    return image.resize([max(1, round(length * share)) for length in image.size], Image.Resampling.BICUBIC)


def blocks(values: Tensor, side: int) -> np.ndarray:
    """A map ``(h, w)`` or ``(C, h, w)`` enlarged to squares of one value, ``(side, side)`` or ``(side, side, C)``."""
    values = values.float().cpu().numpy()
    return cv2.resize(np.ascontiguousarray(values if values.ndim == 2 else values.transpose(1, 2, 0)), (side, side),
                      interpolation=cv2.INTER_NEAREST_EXACT)


def heated(image: Tensor, values: Tensor, side: int) -> Image.Image:
    """A square image in grey under the colours of a map ``(h, w)`` in 0..1."""
    grey = np.asarray(fitted(image, side).convert('L'), dtype=np.float32)[..., None]
    colours = heat(blocks(values, side))
    return Image.fromarray((0.25 * grey + 0.75 * colours).round().astype(np.uint8))


def framed(picture: Image.Image, cell: int, grid: tuple[int, int], colour: str = 'cyan') -> Image.Image:
    """The picture with a frame around one cell, row-major, of a grid ``(h, w)``."""
    picture = picture.copy()
    (row, column), (rows, columns) = divmod(cell, grid[1]), grid
    box = (column * picture.width / columns, row * picture.height / rows,
           (column + 1) * picture.width / columns - 1, (row + 1) * picture.height / rows - 1)
    ImageDraw.Draw(picture).rectangle(box, outline=colour, width=2)
    return picture
