from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmdssl.visualization import draw_matches


def test_the_surest_matches_are_joined(tmp_path):
    first, second = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.full((2, 3, 8, 8), 90, dtype=torch.uint8)
    matches = torch.tensor([[3, 2, 1, 0], [0, 0, 0, 0]])
    similarity = torch.tensor([[.9, .1, .2, .3], [.1, .2, .3, .9]])
    draw_matches(first, second, matches, similarity, tmp_path / 'matches.png', lines=1, size=80)
    picture = np.array(Image.open(tmp_path / 'matches.png')).astype(int)
    assert picture.shape == (2 * 96 + 16, 2 * 80 + 3 * 16, 3)
    left, right = (picture[:, x:x + 80] for x in (16, 16 * 2 + 80))
    assert left[16 + 50, 10].tolist() == [0] * 3 and right[16 + 10, 50].tolist() == [90] * 3 and picture[5, 50].min() == 255
    # centres of cells are 20 and 60 px in: the first row joins cell 0 to cell 3, the second cell 3 to cell 0
    red, blue = picture[16 + 20, 16 + 20].tolist(), picture[112 + 60, 16 + 60].tolist()
    assert red == [255, 0, 0] == right[16 + 60, 60].tolist()
    assert blue == [128, 0, 255] == right[112 + 20, 20].tolist()
    assert left[16 + 20, 60].tolist() == left[16 + 60, 20].tolist() == [0] * 3, 'the others are not drawn'
    draw_matches(first, second, matches, similarity, tmp_path / 'all.png', size=80)
    assert np.array(Image.open(tmp_path / 'all.png'))[16 + 20, 16 + 60].tolist() == [128, 255, 0]
