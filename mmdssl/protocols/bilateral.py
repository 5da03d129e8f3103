"""A map made smooth within the regions of an image, and sharp at their edges.

Barron and Poole, "The Fast Bilateral Solver", ECCV 2016.
"""
from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import cg

# JPEG's luma and chroma of red, green and blue, the latter around 128.
YUV = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
CENTRE = np.array([0, 128, 128])
BALANCING = 10
LEAST = 1e-5


def bilateral_solve(image: np.ndarray, target: np.ndarray, space: float = 16., luma: float = 16., chroma: float = 8.,
                    confidence: float = 0.999, smoothness: float = 256., iterations: int = 25) -> np.ndarray:
    """The map nearest to a target of which pixels that are near each other in place and colour have nearly the same value.

    The least-squares problem of Eq. 1 and 2 is solved among the occupied cells of a grid over place and colour, by conjugate gradients.
    The defaults are TokenCut's.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        target: ``(H, W)``.
        space: Side of a cell, pixels.
        luma: Its height, levels of brightness.
        chroma: Its extent in both directions of colour.
        confidence: Weight of the target.
        smoothness: Weight of smoothness.
        iterations: Of the conjugate gradients, at most; they end before where the residual is 1e-5 of the right-hand side.

    Returns:
        ``(H, W)``, not clipped to the range of the target.
    """
    rows, columns = np.indices(target.shape)
    colours = image @ YUV.T + CENTRE
    coordinates = [columns / space, rows / space, colours[..., 0] / luma, *np.moveaxis(colours[..., 1:] / chroma, -1, 0)]
    cells = np.stack([each.astype(int).ravel() for each in coordinates]) + 1
    sides = cells.max(1) + 2  # empty ones all around, so that neighbours have numbers of their own
    occupied, cell, sizes = np.unique(np.ravel_multi_index(cells, sides), return_inverse=True, return_counts=True)

    blur = diags_array(np.full(len(occupied), 2. * len(sides)), format='csr')
    for stride in np.cumprod([1, *sides[:0:-1]]):
        places = np.searchsorted(occupied, occupied + stride).clip(max=len(occupied) - 1)
        near, = np.nonzero(occupied[places] == occupied + stride)
        step = coo_array((np.ones(len(near)), (near, places[near])), shape=blur.shape)
        blur = blur + step + step.T

    scale = np.ones(len(occupied))
    for _ in range(BALANCING):
        scale = np.sqrt(scale * sizes / (blur @ scale))
    balanced = diags_array(scale) @ blur @ diags_array(scale)
    # the sums of what is balanced stand for the sizes, which they are after enough iterations
    system = smoothness * (diags_array(balanced.sum(1)) - balanced) + diags_array(confidence * sizes)
    sums = np.bincount(cell, target.ravel())
    preconditioner = diags_array(1 / np.maximum(system.diagonal(), LEAST))
    solution, _ = cg(system.tocsr(), confidence * sums, x0=sums / sizes, rtol=1e-5, maxiter=iterations, M=preconditioner)
    return solution[cell].reshape(target.shape)
