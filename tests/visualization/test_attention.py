from __future__ import annotations

import numpy as np
import torch

from mmdssl.visualization import draw_attention


def brightest(picture) -> tuple[int, int]:
    rows, columns = (picture.sum(-1) > 0.99 * picture.sum(-1).max()).nonzero()
    return int(4 * rows.mean() / len(picture)), int(4 * columns.mean() / len(picture))


def test_a_row_per_image_with_the_image_the_mean_and_each_head(tiles_of):
    images = torch.full((3, 3, 32, 32), 90, dtype=torch.uint8)
    maps = torch.full((3, 2, 4, 4), 0.1)
    maps[0, 0, 1, 2], maps[0, 1, 3, 0], maps[2, 1, 0, 0] = 0.9, 0.5, 0.2
    rows = tiles_of('attention', draw_attention, images, maps)
    assert len(rows) == 3 and [len(row) for row in rows] == [4] * 3
    (image, _), (mean, _), (first, caption), (second, _) = rows[0]
    assert np.abs(image - 90).max() <= 1
    assert brightest(first) == brightest(mean) == (1, 2) and brightest(second) == (3, 0) and brightest(rows[2][3][0]) == (0, 0)
    assert caption == f'head 1: {1.6 / 2.4:.1f}-{9 * 1.6 / 2.4:.1f} x'
    flat = rows[1][2][0]
    assert (flat == flat[0, 0]).all() and flat.max() < 90, 'even attention is not stretched'


def test_many_heads_go_on_in_the_next_row(tiles_of):
    rows = tiles_of('attention', draw_attention, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.rand(2, 12, 4, 4))
    assert [[tile and tile[1].partition(':')[0] for tile in row] for row in rows[:2]] == [
        ['', 'mean', *(f'head {i}' for i in range(1, 7))], [None, None, *(f'head {i}' for i in range(7, 13))]]
    assert len(rows) == 4


def test_random_weights_stand_beside(tiles_of):
    images, maps, random = torch.full((2, 3, 16, 16), 90, dtype=torch.uint8), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    rows = tiles_of('attention', draw_attention, images, maps, random)
    alone = tiles_of('attention', draw_attention, images, random)
    assert [tile[1].partition(':')[0] for tile in rows[0]] == ['', 'random', 'mean', 'head 1', 'head 2', 'head 3']
    assert [row[1][1].partition(': ')[2] for row in rows] == [row[1][1].partition(': ')[2] for row in alone]
    assert [row[2][1] for row in rows] == [row[1][1] for row in tiles_of('attention', draw_attention, images, maps)]


def test_a_map_of_no_heads_is_alone(tiles_of):
    rows = tiles_of('attention', draw_attention, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.randn(2, 1, 4, 4))
    assert [len(row) for row in rows] == [2, 2] and rows[0][1][1].startswith('map: ')
