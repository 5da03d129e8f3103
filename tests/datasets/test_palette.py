from __future__ import annotations

import numpy as np
from PIL import Image

from mmdssl.datasets.palette import save_mask, voc_palette


def test_palette_is_that_of_voc():
    palette = voc_palette()
    assert palette[[1, 2, 3, 8, 15, 20, 64, 255]].tolist() == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [64, 0, 0], [192, 128, 128], [0, 64, 128], [32, 0, 0], [224, 224, 192]]


def test_saved_masks_keep_their_ids_and_show_their_colours(tmp_path):
    ids = np.array([[0, 1, 2], [3, 200, 255]], np.uint8)
    save_mask(ids, tmp_path / 'new/mask.png')
    with Image.open(tmp_path / 'new/mask.png') as image:
        assert image.mode == 'P' and np.array_equal(image, ids)
        assert np.array_equal(image.convert('RGB'), voc_palette()[ids])
