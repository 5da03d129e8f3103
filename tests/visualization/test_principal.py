from __future__ import annotations

import numpy as np
import torch

from mmdssl.visualization import draw_principal, principal_colours


def test_features_that_do_not_differ_are_grey():
    for maps in (torch.zeros(2, 8, 3, 3), torch.randn(8)[None, :, None, None].expand(2, 8, 3, 3)):
        assert torch.equal(principal_colours(maps), torch.full((2, 3, 3, 3), 0.5))


def test_like_features_have_like_colours_in_all_images():
    kinds = torch.randn(4, 16)
    which = torch.randint(0, 4, (3, 5, 5))
    colours = principal_colours(kinds[which].movedim(-1, 1) + 1e-6 * torch.randn(3, 16, 5, 5)).movedim(1, -1)
    means = torch.stack([colours[which == kind].mean(0) for kind in range(4)])
    assert max(colours[which == kind].sub(means[kind]).abs().max() for kind in range(4)) < 1e-3
    assert torch.pdist(means).min() > 0.2


def test_colours_are_the_principal_components():
    """Against numpy's SVD, up to sign and the stretch."""
    maps = torch.randn(2, 6, 7, 7) * torch.tensor([5., 3, 2, 1, .5, .1]).view(1, 6, 1, 1)
    colours = principal_colours(maps).movedim(1, -1).flatten(0, 2).numpy()
    rows = maps.movedim(1, -1).flatten(0, 2).double().numpy()
    components = np.linalg.svd(rows - rows.mean(0))[0][:, :3]
    for i in range(3):
        inside = (colours[:, i] > 0) & (colours[:, i] < 1)
        assert inside.sum() > 90
        assert abs(np.corrcoef(colours[inside, i], components[inside, i])[0, 1]) > 1 - 1e-9


def test_the_same_features_have_the_same_colours_whatever_their_order():
    maps = torch.randn(4, 6, 3, 3).exp()
    assert torch.allclose(principal_colours(maps.flip(0)), principal_colours(maps).flip(0), atol=1e-5)


def test_the_background_is_black():
    maps = torch.randn(2, 8, 6, 6) * 0.1
    maps[:, 0] -= 5
    maps[:, 0, 2:4, 2:5] += 10
    colours = principal_colours(maps, foreground=True)
    inside = torch.zeros(6, 6, dtype=torch.bool)
    inside[2:4, 2:5] = True
    assert not colours[..., ~inside].any() and (colours[..., inside].amax(1) > 0).all()


def test_fewer_channels_than_colours_are_no_error():
    assert principal_colours(torch.randn(1, 2, 3, 3)).shape == (1, 3, 3, 3)


def test_each_image_is_above_its_patches(tiles_of):
    colours = torch.rand(2, 3, 2, 2)
    above, below = tiles_of('principal', draw_principal, torch.full((2, 3, 8, 8), 70, dtype=torch.uint8), colours)
    assert np.abs(above[1][0] - 70).max() <= 1
    picture, side = below[1][0], len(below[1][0])
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        found = picture[int((row + .5) * side / 2), int((column + .5) * side / 2)]
        assert np.abs(found - 255 * colours[1, :, row, column].numpy()).max() <= 1
