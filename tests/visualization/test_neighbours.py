from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from mmdssl.visualization import draw_neighbours, draw_patch_neighbours, nearest_images, nearest_patches


def test_the_nearest_of_an_image_is_its_copy_and_never_itself():
    features = torch.randn(6, 16)
    features[4] = 3 * features[1]
    found, cosines = nearest_images(features, 3, 4)
    assert found.shape == cosines.shape == (3, 4) and found[1, 0] == 4 and torch.isclose(cosines[1, 0], torch.tensor(1.))
    for i, (row, alike) in enumerate(zip(found, cosines)):
        ranked = sorted((j for j in range(6) if j != i), key=lambda j: -float(F.cosine_similarity(features[i], features[j], dim=0)))
        assert row.tolist() == ranked[:4] and (alike.diff() <= 0).all()
    assert nearest_images(features, 2, 50)[0].shape == (2, 5)


def test_the_nearest_patch_of_a_shifted_image_is_where_it_went():
    maps = torch.randn(4, 8, 5, 5)
    maps[3] = maps[0].roll((1, 2), dims=(1, 2))
    found, cosines = nearest_patches(maps, 2, patch=1 * 5 + 2, k=2)
    assert found.shape == (2, 2) and cosines.shape == (2, 2, 5, 5) and found[0, 0] == 3 and 1 not in found[1]
    assert divmod(int(cosines[0, 0].argmax()), 5) == (2, 4) and torch.isclose(cosines[0, 0].max(), torch.tensor(1.))
    other = F.cosine_similarity(maps[1, :, 1, 2][:, None, None], maps[found[1, 1]], dim=0)
    assert torch.allclose(cosines[1, 1], other, atol=1e-6)


def test_neighbours_stand_beside_their_image(tiles_of):
    images = torch.arange(0, 250, 50, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    rows = tiles_of('neighbours', draw_neighbours, images, torch.tensor([[2, 4], [3, 0]]), torch.tensor([[.9, .5], [.25, -.1]]))
    assert [[round(tile[0].mean() / 50) for tile in row] for row in rows] == [[0, 2, 4], [1, 3, 0]]
    assert [tile[1] for tile in rows[1]] == ['', '0.25', '-0.10']


def test_the_patch_and_the_nearest_ones_are_framed(tiles_of):
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1, 3] = 0.75
    (query, found), = tiles_of('neighbours', draw_patch_neighbours, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 10, torch.tensor([[1]]),
                               maps)
    assert found[1] == '0.75'
    for (picture, _), cell in ((query, (2, 2)), (found, (1, 3))):
        cyan = (picture == (0, 255, 255)).all(-1).nonzero()
        side = len(picture) / 4
        assert np.allclose([axis.mean() for axis in cyan], [(i + .5) * side for i in cell], atol=1)
