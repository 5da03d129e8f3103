from __future__ import annotations

import colorsys

import torch

from mmdssl.visualization import draw_matches
from mmdssl.visualization.correspondence import is_near, is_visible
from mmdssl.visualization.sheet import GAP


def test_the_surest_matches_of_what_both_views_show_are_joined(tiles_of):
    first, second = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.full((2, 3, 8, 8), 90, dtype=torch.uint8)
    matches = torch.tensor([[3, 2, 1, 0], [0, 0, 0, 0]])
    similarity = torch.tensor([[.9, .1, .2, .3], [.1, .2, .3, .9]])
    truth = torch.tensor([[[1., 1.], [0., 1.], [5., 0.], [0., 0.]], [[0., 0.], [1., 1.], [1., 0.], [9., 9.]]])
    (one, two), = tiles_of('correspondence', draw_matches, first, second, matches, similarity, truth, 1)
    assert (one[1], two[1]) == ('3 of 3 within a cell', '3 of 3 within a cell')
    side = (one[0].shape[1] - GAP) // 2
    near, far = side // 4, side * 3 // 4
    right = side + GAP
    red, violet = ([round(255 * level) for level in colorsys.hsv_to_rgb(hue, 1., 1.)] for hue in (0., 0.5))
    assert one[0][near, near].tolist() == red == one[0][far, right + far].tolist()
    assert two[0][far, near].tolist() == violet == two[0][near, right + near].tolist(), 'the surest one leaves the view'
    assert not one[0][near, far].any() and one[0][far, right + near].tolist() == [90] * 3, 'the others are not drawn'


def test_matches_that_are_far_off_are_hollow(tiles_of):
    views = torch.zeros(2, 1, 3, 8, 8, dtype=torch.uint8)
    truth = torch.tensor([[0., 0.], [1., 0.], [2., 0.]]).repeat(3, 1)[None]
    (tile, ), = tiles_of('correspondence', draw_matches, *views, torch.tensor([[2] * 9]), torch.rand(1, 9), truth, 9)
    assert tile[1] == '6 of 9 within a cell'
    side = (tile[0].shape[1] - GAP) // 2
    assert (tile[0][side // 6, side // 6] == 255).all(), 'hollow'
    assert (tile[0][side // 6, side * 5 // 6] != 255).any()


def test_near_and_visible_are_measured_in_cells():
    truth = torch.tensor([[[1.9, 0.], [-0.5, 1.4], [2.51, 0.], [0., 0.]]])
    assert is_near(torch.tensor([[1, 3, 1, 3]]), truth).tolist() == [[True, False, False, True]]
    assert is_visible(truth[:, :3], 9).tolist() == [[True, True, False]]
    assert is_visible(truth, 4).tolist() == [[False, True, False, True]]
