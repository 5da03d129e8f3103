from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmdssl.datasets import ViewGroup, Views
from mmdssl.visualization import draw_crops


def views(level: int) -> Views:
    def group(number, size):
        crops = torch.full((number, 3, size, size), level, dtype=torch.uint8)
        window = torch.tensor([[4., 8., 20., 16.]])
        return ViewGroup(crops, window.repeat(number, 1), torch.zeros(number, dtype=torch.bool))
    return Views({'global': group(2, 32), 'local': group(1, 16)}, torch.tensor(0))


def test_picture_shows_what_is_looked_at_the_crops_and_their_content(tiles_of):
    photos = [Image.new('RGB', (80, 40), 'white'), Image.new('RGB', (30, 60), 'white')]
    heat = torch.zeros(2, 4, 4)
    heat[:, 0, 0] = 1
    boxes = torch.tensor([[.25, .25, .75, .5], [0., 0., 1., 1.]])
    rows = [[tile[0] for tile in row] for row in tiles_of('crops', draw_crops, photos, [views(40), views(90)], heat, boxes)]
    assert [len(row) for row in rows] == [5, 5]
    looked_at, framed = rows[0][:2]
    side = looked_at.shape[1]
    assert looked_at.shape[:2] == framed.shape[:2] == (side // 2, side) and rows[1][1].shape[:2] == (side, side // 2)
    assert looked_at[2, 2].min() > 240 and looked_at[-4, -4].max() < 80  # the rest is dimmed
    height = side // 2
    for y, x in ((.25, .4), (.74, .4), (.5, .255), (.5, .49)):
        assert looked_at[round(y * height), round(x * side)].tolist() == [0, 255, 0]
    # (x, y, w, h) = (4, 8, 20, 16) px of the photo of 80 px; local ones are drawn last
    scale = side / 80
    for y, x in ((8, 14), (24, 14), (16, 4), (16, 24)):
        assert framed[int(y * scale) - (y == 24), int(x * scale) - (x == 24)].tolist() == [0, 255, 255]
    assert [tile[side // 2, side // 2].tolist() for tile in rows[1][2:]] == [[90] * 3] * 3
    assert [tile[side // 2, 1].tolist() for tile in rows[0][2:]] == [[255, 165, 0], [255, 165, 0], [0, 255, 255]]


def test_without_a_map_there_are_only_the_views(tiles_of):
    (row, ) = tiles_of('crops', draw_crops, [Image.new('RGB', (80, 40), 'white')], [views(40)])
    assert len(row) == 4 and not (row[0][0] == (0, 255, 0)).all(-1).any() and np.abs(row[1][0][20:-20, 20:-20] - 40).max() == 0
