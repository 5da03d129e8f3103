from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmdssl.datasets import ViewGroup, Views
from mmdssl.visualization import draw_queries
from mmdssl.visualization.queries import CORNERS, position_colours


def test_corners_have_their_colours():
    colours = position_colours(3).view(3, 3, 3)
    assert torch.equal(colours[::2, ::2], CORNERS) and torch.equal(position_colours(1), CORNERS[0, :1])


def test_each_patch_has_one_colour_wherever_it_is(tiles_of):
    def group(number, level):
        return ViewGroup(torch.full((number, 3, 16, 16), level, dtype=torch.uint8), torch.tensor([[10., 20., 30., 40.]]).repeat(number, 1),
                         torch.zeros(number, dtype=torch.bool))
    views = Views({'global': group(2, 90), 'query': group(1, 120)}, torch.tensor(0))
    # in the first view as large as the crop, in the second one outside, on the right
    places = torch.tensor([[.25, .25], [.75, .25], [.25, .75], [.75, .75]]).repeat(2, 1, 1, 1, 1)
    places[1] = places[1] * .2 + torch.tensor([1.1, .4])
    sizes = torch.tensor([.5, .1])[:, None, None, None].expand(2, 1, 1, 2)
    told = torch.arange(16.).view(2, 1, 1, 4, 2)
    (image, crop, first, second), = tiles_of('queries', draw_queries, [Image.new('RGB', (80, 80))], [views], places, sizes, told)
    assert first[1] == '(0.0, 1.0) to (6.0, 7.0)' and second[1] == '(8.0, 9.0) to (14.0, 15.0)'
    side = len(crop[0])
    scale = side / 80
    magenta = (image[0] == (255, 0, 255)).all(-1).nonzero()
    assert np.allclose([axis.min() for axis in magenta], [20 * scale, 10 * scale], atol=1)
    assert np.allclose([axis.max() + 1 for axis in magenta], [60 * scale, 40 * scale], atol=1)
    margin = .3  # as far as the crop reaches, on all sides
    for patch, colour in enumerate(position_colours(2).round().int().tolist()):
        for tile, place, around in ((crop, places[0], 0.), (first, places[0], margin), (second, places[1], margin)):
            x, y = ((place[0, 0, patch] + around) * side / (1 + 2 * around)).int().tolist()
            assert tile[0][y, x].tolist() == colour
