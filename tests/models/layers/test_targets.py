"""Targets of masked patches against loops, and against libraries where they have the same."""
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmdssl.models.layers.targets import hog, hog_cells, hog_patches, normalise_patches, patchify, unpatchify


def test_patches_are_rows_of_pixels_and_come_back():
    images = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12).float()
    patches = patchify(images, 4)
    assert patches.shape == (2, 6, 48)
    for patch, row, column, channel in ((0, 0, 0, 0), (4, 1, 3, 2), (5, 3, 2, 1)):
        y, x = 4 * (patch // 3) + row, 4 * (patch % 3) + column
        assert patches[1, patch, (row * 4 + column) * 3 + channel] == images[1, channel, y, x]
    assert torch.equal(unpatchify(patches, 4, (2, 3)), images)


def test_normalised_patches_have_unbiased_variance():
    patches = torch.randn(2, 5, 12, dtype=torch.float64) * 3 + 1
    normal, mean, deviation = normalise_patches(patches)
    for patch, found in zip(patches.flatten(0, 1).tolist(), normal.flatten(0, 1).tolist()):
        m = sum(patch) / 12
        variance = sum((value - m)**2 for value in patch) / 11
        assert found == pytest.approx([(value - m) / math.sqrt(variance + 1e-6) for value in patch], rel=1e-12)
    torch.testing.assert_close(normal * deviation + mean, patches)


def mirrored(i: int, size: int) -> int:
    return -i if i < 0 else 2 * (size - 1) - i if i >= size else i


def hog_by_loops(image: list[list[float]], cell: int, window: int | None = None) -> dict[tuple[int, int], list[float]]:
    """Histograms of a single channel by cell ``(row, column)``."""
    height, width = len(image), len(image[0])
    histograms = {(y, x): [0.] * 9 for y in range(height // cell) for x in range(width // cell)}
    for y in range(height):
        for x in range(width):
            def at(dy: int, dx: int, y=y, x=x) -> float:
                return image[mirrored(y + dy, height)][mirrored(x + dx, width)]

            gx = (at(-1, -1) + 2 * at(0, -1) + at(1, -1)) - (at(-1, 1) + 2 * at(0, 1) + at(1, 1))
            gy = (at(-1, -1) + 2 * at(-1, 0) + at(-1, 1)) - (at(1, -1) + 2 * at(1, 0) + at(1, 1))
            weight = 1.
            if window:
                middle = (window - 1) / 2
                weight = math.exp(-((y % window - middle)**2 + (x % window - middle)**2) / (2 * (window / 2)**2))
            histograms[y // cell, x // cell][math.floor(math.atan2(gx, gy) / math.pi * 9) % 9] += weight * math.hypot(gx, gy)
    return {place: [v / math.sqrt(sum(u * u for u in values)) for v in values] for place, values in histograms.items()}


@pytest.mark.parametrize('cell, window', [(8, None), (4, None), (8, 16)])
def test_hog_is_the_one_of_the_formulas(cell, window):
    images = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    found = hog(images, cell, window)
    assert found.shape == (2, 3, 9, 16 // cell, 24 // cell)
    for b in range(2):
        for c in range(3):
            for (y, x), expected in hog_by_loops(images[b, c].tolist(), cell, window).items():
                assert found[b, c, :, y, x].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def ramp(dx: float, dy: float, size: int = 32) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    return (dx * x + dy * y)[None, None].float()


@pytest.mark.parametrize('dx, dy, expected', [(1, 0, 4), (-1, 0, 4), (0, 1, 0), (0, -1, 0), (1, 1, 2), (-1, -1, 2), (1, -1, 6)])
def test_direction_of_hog_has_no_sign(dx, dy, expected):
    """Of inner cells; at the border the gradient across it is zero."""
    inner = hog(ramp(dx, dy))[0, 0, :, 1:3, 1:3]
    assert (inner.argmax(0) == expected).all() and inner.amax() == pytest.approx(1)


def test_hog_does_not_change_with_brightness_and_contrast_and_is_zero_where_there_is_nothing():
    images = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(hog(2 * images + 1), hog(images), rtol=1e-4, atol=1e-4)
    assert not hog(torch.full((1, 3, 16, 16), 0.3)).any()


def test_hog_of_patches_is_in_the_order_channel_bin_row_column():
    histograms = torch.randn(2, 3, 9, 4, 6)
    patches = hog_patches(histograms, 2)
    assert patches.shape == (2, 6, 108)
    for patch, channel, bin, row, column in ((0, 0, 0, 0, 0), (4, 2, 7, 1, 0), (5, 1, 3, 0, 1)):
        expected = histograms[1, channel, bin, 2 * (patch // 3) + row, 2 * (patch % 3) + column]
        assert patches[1, patch, ((channel * 9 + bin) * 2 + row) * 2 + column] == expected
    torch.testing.assert_close(hog_cells(patches, 2, (2, 3)), histograms)
