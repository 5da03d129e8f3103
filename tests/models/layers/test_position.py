"""Position embeddings against loops and other libraries, coordinates against the geometry of rendered pixels."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import resample_abs_pos_embed

from mmdssl.errors import InputError
from mmdssl.models.layers.position import integer_grid, relative_coordinates, resize_table, sincos2d, stretched_grid

PATCH, VIEW, QUERY = 16, 128, 48
GRID, QUERY_GRID = VIEW // PATCH, QUERY // PATCH


def boxes(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def flags(*values: bool) -> torch.Tensor:
    return torch.tensor(values)


def test_sincos_is_maes_layout_at_any_real_coordinate():
    x, y = torch.tensor([0., 3., -2.25, 17.5]), torch.tensor([1., 0., 8.125, -40.])
    actual = sincos2d(x, y, 24)
    for i in range(4):
        for k in range(6):
            frequency = 10000 ** (-k / 6)
            expected = [f(c * frequency) for c in (x[i].item(), y[i].item()) for f in (math.sin, math.cos)]
            assert actual[i, k::6].tolist() == pytest.approx(expected, abs=1e-5)


def test_sincos_is_moco_v3s_table_with_the_halves_swapped():
    """MoCo v3's meshgrid is indexed by row first, so that its first half encodes the row."""
    side, dim = 5, 16
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing='ij')
    omega = 1 / 10000 ** (np.arange(dim // 4) / (dim // 4))
    row, column = np.outer(rows.ravel(), omega), np.outer(columns.ravel(), omega)
    moco = np.concatenate([np.sin(row), np.cos(row), np.sin(column), np.cos(column)], axis=1)
    ours = sincos2d(*integer_grid((side, side)).unbind(-1), dim)
    swapped = torch.cat(ours.chunk(2, dim=1)[::-1], dim=1)
    torch.testing.assert_close(swapped.double(), torch.from_numpy(moco), rtol=0, atol=1e-6)


def test_sincos_needs_a_multiple_of_four():
    with pytest.raises(InputError, match='multiple of 4, got 6'):
        sincos2d(torch.zeros(1), torch.zeros(1), 6)


def test_grids_are_row_major_with_the_column_first():
    assert integer_grid((2, 3)).tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    assert torch.equal(stretched_grid((14, 14), (14, 14)), integer_grid((14, 14)))


def test_stretched_grid_keeps_the_centres_of_the_patches():
    actual = stretched_grid((3, 7), (14, 10))
    for i, (x, y) in enumerate(actual.tolist()):
        row, column = divmod(i, 7)
        assert (x + 0.5) / 10 == pytest.approx((column + 0.5) / 7, abs=1e-6)
        assert (y + 0.5) / 14 == pytest.approx((row + 0.5) / 3, abs=1e-6)


def ramps(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Two images whose pixels are the x and the y coordinates of their centres."""
    x = np.broadcast_to(np.arange(width, dtype=np.float32) + 0.5, (height, width))
    y = np.broadcast_to((np.arange(height, dtype=np.float32) + 0.5)[:, None], (height, width))
    return Image.fromarray(np.ascontiguousarray(x)), Image.fromarray(np.ascontiguousarray(y))


def rendered_axes(images, box, flip: bool, size: int) -> list[np.ndarray]:
    """Crop, resize and flip the ramps; per axis, the line ``image coordinate = a * crop coordinate + b`` in pixels.

    The line is read from pixels whose resize kernel does not reach over the edge of the crop.
    """
    lines = []
    for axis, image in enumerate(images):
        crop = image.crop((box[0], box[1], box[0] + box[2], box[1] + box[3]))
        crop = crop.resize((size, size), Image.Resampling.BICUBIC)
        if flip:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        values = np.asarray(crop, dtype=np.float64)
        values = values[size // 2] if axis == 0 else values[:, size // 2]
        source_pixel = size / box[2 + axis]
        margin = math.ceil(2.5 * max(source_pixel, 1))
        inner = np.arange(margin, size - margin)
        lines.append(np.polyfit(inner + 0.5, values[inner], 1))
    return lines


@pytest.mark.parametrize('anchor', ['corner', 'center'])
def test_coordinates_agree_with_rendered_pixels(anchor):
    """200 random images, views and queries of any aspect ratio, flipped or not, in or beside the view: to 0.02 px."""
    rng = np.random.default_rng(7 if anchor == 'corner' else 8)
    outside = 0
    for _ in range(200):
        width, height = rng.integers(150, 500, 2)
        images = ramps(width, height)
        drawn, flips = [], rng.random(2) < 0.5
        for low, high in ((0.3, 1.), (0.1, 0.6)):
            w, h = (int(side * rng.uniform(low, high)) for side in (width, height))
            drawn.append([int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h])
        view, query = (rendered_axes(images, box, flip, size) for box, flip, size in zip(drawn, flips, (VIEW, QUERY)))

        actual = relative_coordinates(boxes(drawn[0]), flags(flips[0]), boxes(drawn[1]), flags(flips[1]), GRID,
                                      QUERY_GRID, anchor).view(QUERY_GRID, QUERY_GRID, 2).numpy() * PATCH

        for axis, (view_line, query_line) in enumerate(zip(view, query)):
            edges = np.polyval(query_line, np.arange(QUERY_GRID + 1) * PATCH)
            in_view = (edges - view_line[1]) / view_line[0]
            first, second = in_view[:-1], in_view[1:]
            expected = np.minimum(first, second) if anchor == 'corner' else (first + second) / 2 - PATCH / 2
            along = actual[0, :, 0] if axis == 0 else actual[:, 0, 1]
            np.testing.assert_allclose(along, expected, atol=0.02, rtol=0)
            outside += (in_view.max() < 0) + (in_view.min() > VIEW)
        assert (actual[..., 0] == actual[:1, :, 0]).all() and (actual[..., 1] == actual[:, :1, 1]).all()
    assert outside > 3, 'queries beside the view were meant to be among them'


@pytest.mark.parametrize('anchor', ['corner', 'center'])
@pytest.mark.parametrize('flip', [False, True])
def test_query_that_is_the_view_gets_the_integer_grid(anchor, flip):
    box = boxes((12.5, 7., 80., 50.))
    actual = relative_coordinates(box, flags(flip), box, flags(flip), 14, 14, anchor)
    torch.testing.assert_close(actual[0], integer_grid((14, 14)), rtol=0, atol=1e-5)


@pytest.mark.parametrize('query_flip', [False, True])
def test_flip_of_the_view_mirrors_the_centres(query_flip):
    """``x -> G-1-x`` for centres; a flip of the query only changes the order in which its patches are read."""
    view, query = boxes((10., 20., 100., 60.)), boxes((-5., 30., 40., 90.))
    straight, mirrored = (relative_coordinates(view, flags(flip), query, flags(query_flip), 14, 4, 'center')
                          for flip in (False, True))
    torch.testing.assert_close(mirrored[..., 0], 13 - straight[..., 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(mirrored[..., 1], straight[..., 1])
    for anchor in ('corner', 'center'):
        one, other = (relative_coordinates(view, flags(True), query, flags(flip), 14, 4, anchor).view(4, 4, 2)
                      for flip in (False, True))
        torch.testing.assert_close(one, other.flip(1), rtol=0, atol=1e-4)


def test_coordinates_outside_the_view_are_not_clamped():
    """A crop to the lower left of the view."""
    view, query = boxes((100., 0., 112., 112.)), boxes((50., 140., 28., 28.))
    actual = relative_coordinates(view, flags(False), query, flags(False), 14, 6)
    assert actual[..., 0].max() < 0 and actual[..., 1].min() > 14


def test_coordinates_broadcast_over_views_images_and_crops():
    view, query = torch.rand(2, 3, 1, 4) * 50 + 10, torch.rand(3, 5, 4) * 50 + 10
    view_flip, query_flip = torch.rand(2, 3, 1) > 0.5, torch.rand(3, 5) > 0.5
    together = relative_coordinates(view, view_flip, query, query_flip, 14, 2)
    assert together.shape == (2, 3, 5, 4, 2)
    for v, b, c in np.ndindex(2, 3, 5):
        alone = relative_coordinates(view[v, b, 0], view_flip[v, b, 0], query[b, c], query_flip[b, c], 14, 2)
        torch.testing.assert_close(together[v, b, c], alone)


def test_unknown_anchor_is_refused():
    with pytest.raises(InputError, match="anchor is 'corner' or 'center', got 'left'"):
        relative_coordinates(boxes((0, 0, 1, 1)), flags(False), boxes((0, 0, 1, 1)), flags(False), 2, 2, 'left')


def cubic(table: np.ndarray, wanted: int, scale: float) -> np.ndarray:
    """Bicubic samples ``(wanted, wanted, D)`` of a table at ``(i + 1/2) / scale - 1/2``: a = -3/4, edges repeated."""

    def kernel(d: float) -> float:
        d = abs(d)
        if d <= 1:
            return 1.25 * d ** 3 - 2.25 * d ** 2 + 1
        return -0.75 * (d ** 3 - 5 * d ** 2 + 8 * d - 4) if d < 2 else 0.

    side = len(table)
    rows = np.zeros((wanted, side))
    for i in range(wanted):
        source = (i + 0.5) / scale - 0.5
        for j in range(math.floor(source) - 1, math.floor(source) + 3):
            rows[i, min(max(j, 0), side - 1)] += kernel(source - j)
    return np.einsum('ia,jb,abd->ijd', rows, rows, table)


@pytest.mark.parametrize('wanted', [6, 14, 20])
def test_rules_for_resizing_a_table(wanted):
    table = torch.randn(1, 14 * 14, 3)
    square = table.view(14, 14, 3).double().numpy()
    size, dino, antialias = (resize_table(table, (wanted, wanted), rule) for rule in ('size', 'dino', 'antialias'))
    timms = resample_abs_pos_embed(table, (wanted, wanted), num_prefix_tokens=0)
    for actual, scale in ((size, wanted / 14), (dino, (wanted + 0.1) / 14 if wanted != 14 else 1.)):
        np.testing.assert_allclose(actual.view(wanted, wanted, 3).numpy(), cubic(square, wanted, scale), atol=1e-4)
    torch.testing.assert_close(antialias, timms)
    if wanted == 6:
        assert 0.1 < (dino - size).norm() / size.norm() < 0.5, 'on random tables the rules differ by about 28 %'


def test_resized_table_is_row_major():
    table = integer_grid((4, 4))[None]
    wide = resize_table(table, (4, 8))
    assert wide.shape == (1, 32, 2)
    assert (wide.view(4, 8, 2)[:, 1:, 0] > wide.view(4, 8, 2)[:, :-1, 0]).all()
    torch.testing.assert_close(wide.view(4, 8, 2)[..., 1], torch.arange(4.)[:, None].expand(4, 8))


def test_table_is_resized_in_fp32():
    table = torch.randn(1, 16, 4)
    torch.testing.assert_close(resize_table(table.bfloat16(), (7, 7)), resize_table(table.bfloat16().float(), (7, 7)),
                               check_dtype=False)


def test_unknown_rule_is_refused():
    with pytest.raises(InputError, match="position_rule is 'size', 'dino' or 'antialias', got 'near'"):
        resize_table(torch.zeros(1, 4, 4), (3, 3), 'near')
