from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmdssl.visualization.sheet import BAR, GAP, HEIGHT, MARGIN, WIDTH, Scale, Tile, blocks, framed, heat, heated, sheet, tile_side


def test_tiles_are_in_rows_and_columns_with_captions():
    colours = [['red', 'lime'], ['blue', 'white']]
    rows = [[Tile(Image.new('RGB', (50, 50), colour), colour) for colour in row] for row in colours]
    picture = np.array(sheet([*rows, [None, Image.new('RGB', (50, 40), 'magenta')]], 'Title', 'a note', ['one', 'two'])).astype(int)
    places = {name: (picture == colour).all(-1).nonzero() for name, colour in dict(
        red=(255, 0, 0), lime=(0, 255, 0), blue=(0, 0, 255), magenta=(255, 0, 255)).items()}
    (top, left), (beside, right) = ([axis.min() for axis in places[name]] for name in ('red', 'lime'))
    assert all(len(places[name][0]) == 2500 for name in ('red', 'lime', 'blue'))
    assert (top, left + 50 + GAP) == (beside, right) and left == MARGIN and len(places['magenta'][0]) == 2000
    assert places['blue'][1].min() == left and places['magenta'][1].min() == right
    below = picture[top + 50:places['blue'][0].min(), left:left + 40]
    assert below.min() < 100 and below.max() == 255, 'the caption'
    assert picture[:top].min() < 100, 'title, note and columns'


@pytest.mark.parametrize('rows, columns', [(1, 2), (5, 6), (5, 8), (8, 12), (2, 5)])
def test_a_sheet_fits_a_screen(rows, columns):
    side = tile_side(rows, columns)
    picture = sheet([[Tile(Image.new('RGB', (side, side)), 'caption')] * columns] * rows, 'Title', 'note', ['a'] * columns)
    assert picture.width <= WIDTH and picture.height <= HEIGHT and side >= 48


def test_the_scale_goes_from_dark_to_bright():
    picture = np.array(sheet([[Image.new('RGB', (300, 9), 'white')]], 'T', scale=Scale('0', '1'))).astype(int)
    rows, columns = (picture == heat(np.array([1.]))[0]).all(-1).nonzero()
    bar = picture[rows.min(), columns.max() - BAR[0] + 1:columns.max() + 1].sum(-1)
    assert bar[0] < 30 and bar[-1] > 600 and (np.diff(bar) >= -2).all()


def test_a_heated_image_is_the_brighter_the_hotter():
    values = torch.tensor([[0., 0.5], [1., 0.2]])
    picture = np.array(heated(torch.zeros(3, 8, 8, dtype=torch.uint8), values, 20)).astype(int).sum(-1)
    means = [picture[:10, :10].mean(), picture[:10, 10:].mean(), picture[10:, :10].mean(), picture[10:, 10:].mean()]
    assert means[2] > means[1] > means[3] > means[0] and (picture[:10, :10] == picture[0, 0]).all()


def test_blocks_and_frames_are_where_their_cells_are():
    enlarged = blocks(torch.arange(6.).view(2, 3), 6)
    assert (enlarged[:3, 4:] == 2).all() and (enlarged[3:, :2] == 3).all()
    picture = np.array(framed(Image.new('RGB', (60, 60)), 5, (2, 3)))
    marked = picture.any(-1).nonzero()
    assert [axis.min() for axis in marked] == [30, 40] and [axis.max() for axis in marked] == [59, 59] and not picture[40, 50].any()
