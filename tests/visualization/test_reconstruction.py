"""Pictures of what was masked and of what a network makes of it."""
from __future__ import annotations

import pytest
import torch

from mmdssl.models.layers.targets import hog
from mmdssl.visualization.reconstruction import code_picture, draw_reconstruction, hog_picture


def test_a_row_per_image_and_a_column_per_picture(tiles_of):
    rows = tiles_of('reconstruction', draw_reconstruction, dict(image=torch.zeros(3, 3, 8, 8), masked=torch.ones(3, 3, 8, 8)))
    assert len(rows) == 3 and all(not image[0].any() and (masked[0] == 255).all() for image, masked in rows)


@pytest.mark.parametrize('vertical', [True, False])
def test_strokes_lie_along_the_edges(vertical):
    """Vertical stripes change from left to right, and the strokes of their histograms are vertical."""
    stripes = torch.sin(torch.arange(32.)).expand(1, 3, 32, 32)
    picture = hog_picture(hog(stripes if vertical else stripes.mT, 8), 8)
    assert picture.shape == (1, 3, 32, 32) and picture.min() == 0 and picture.max() == 1
    cell = picture[0, 0, 8:16, 8:16]
    along, across = (cell[3:5].mean(), cell[:, 3:5].mean()) if not vertical else (cell[:, 3:5].mean(), cell[3:5].mean())
    assert along > 2 * across


def test_codes_have_colours():
    picture = code_picture(torch.tensor([[[3, 3], [8, 3]]]), 4)
    assert picture.shape == (1, 3, 8, 8) and picture.min() >= 0 and picture.max() <= 1
    assert torch.equal(picture[..., :4, :4], picture[..., 4:, 4:]) and not torch.equal(picture[..., :4, :4], picture[..., 4:, :4])
