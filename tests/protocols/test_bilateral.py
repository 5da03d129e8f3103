from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmdssl.protocols.bilateral import bilateral_solve


def slow_solve(image, target, space, luma, chroma, confidence, smoothness):
    """Cells as tuples, matrices as arrays, and the system solved directly."""
    def cell(y, x):
        r, g, b = map(float, image[y, x])
        brightness = 0.299 * r + 0.587 * g + 0.114 * b
        colours = 128 - 0.168736 * r - 0.331264 * g + 0.5 * b, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b
        return (int(x / space), int(y / space), int(brightness / luma), *(int(colour / chroma) for colour in colours))
    pixels = {(y, x): cell(y, x) for y in range(target.shape[0]) for x in range(target.shape[1])}
    sizes = Counter(pixels.values())
    cells = sorted(sizes)
    distances = np.array([[sum(abs(a - b) for a, b in zip(one, other)) for other in cells] for one in cells])
    blur = 10. * (distances == 0) + (distances == 1)
    masses, scale = np.array([sizes[each] for each in cells]), np.ones(len(cells))
    for _ in range(10):
        scale = np.sqrt(scale * masses / (blur @ scale))
    balanced = scale[:, None] * blur * scale
    system = smoothness * (np.diag(balanced.sum(1)) - balanced) + np.diag(confidence * masses)
    sums = np.array([sum(target[place] for place, own in pixels.items() if own == each) for each in cells])
    solution = dict(zip(cells, np.linalg.solve(system, confidence * sums)))
    return np.array([[solution[pixels[y, x]] for x in range(target.shape[1])] for y in range(target.shape[0])])


@pytest.mark.parametrize('smoothness', [1., 256.])
def test_the_solution_equals_a_direct_one(smoothness):
    rng = np.random.default_rng(0)
    image = (rng.integers(0, 256, (3, 4, 3)).repeat(6, 0).repeat(5, 1) * 0.4 + rng.integers(0, 40, (18, 20, 3))).astype(np.uint8)
    target = (rng.random((18, 20)) > 0.6).astype(float)
    options = dict(space=5., luma=16., chroma=12., confidence=0.9, smoothness=smoothness)
    assert bilateral_solve(image, target, iterations=2000, **options) == pytest.approx(slow_solve(image, target, **options), abs=1e-4)


def test_it_finds_the_edge_that_a_coarse_mask_misses():
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:35, 21:50] = (200, 60, 40)
    truth = image[..., 0] > 0
    coarse = np.zeros(truth.shape)
    coarse[16:32, 16:48] = 1
    found = bilateral_solve(image, coarse) > 0.5
    assert (found == truth).all() and (coarse != truth).mean() > 0.1
