from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmdssl.datasets import ViewGroup, Views
from mmdssl.visualization import draw_crops


def test_picture_shows_what_is_looked_at_the_crops_and_their_content(tmp_path):
    photos = [Image.new('RGB', (80, 40), 'white'), Image.new('RGB', (30, 60), 'white')]
    heat = torch.zeros(2, 4, 4)
    heat[:, 0, 0] = 1
    boxes = torch.tensor([[.25, .25, .75, .5], [0., 0., 1., 1.]])

    def views(level):
        def group(number, size):
            crops = torch.full((number, 3, size, size), level, dtype=torch.uint8)
            window = torch.tensor([[4., 8., 20., 16.]])
            return ViewGroup(crops, window.repeat(number, 1), torch.zeros(number, dtype=torch.bool))
        return Views({'global': group(2, 32), 'local': group(1, 16)}, torch.tensor(0))
    draw_crops(photos, heat, boxes, [views(40), views(90)], tmp_path / 'crops.png', size=120)
    picture = np.array(Image.open(tmp_path / 'crops.png')).astype(int)
    assert picture.shape == (2 * 124 + 4, 5 * 124 + 4, 3)
    tiles = [[picture[4 + 124 * row:124 + 124 * row, 4 + 124 * column:124 + 124 * column] for column in range(5)]
             for row in range(2)]
    looked_at, framed = tiles[0][:2]  # the photo of 80 x 40 px is 120 x 60 there
    assert looked_at[2, 2].tolist() == [255] * 3 and looked_at[50, 100].max() < 80  # the rest is dimmed
    assert looked_at[70].min() == 255  # below the photo
    for y, x in ((15, 40), (45, 40), (30, 30), (30, 60)):
        assert looked_at[y, x].tolist() == [0, 255, 0]
    # (x, y, w, h) = (4, 8, 20, 16) px of the photo, here 1.5 times as large; local ones are drawn last
    for y, x in ((12, 20), (36, 20), (20, 6), (20, 36)):
        assert framed[y, x].tolist() == [0, 255, 255]
    assert [tile[60, 60].tolist() for tile in tiles[1][2:]] == [[90] * 3] * 3
    assert [tile[60, 1].tolist() for tile in tiles[0][2:]] == [[255, 165, 0], [255, 165, 0], [0, 255, 255]]
