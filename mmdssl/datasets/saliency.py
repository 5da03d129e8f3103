"""Saliency without labels: what stands out from the border of an image, or what a network attends to."""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from mmdssl.errors import InputError

# Zhu et al., Sec. 3 to 5.
COLOUR, CONNECTIVITY, SPACE, SMOOTHNESS = 10., 1., 0.25, 0.1
PIXELS_PER_REGION = 600


def mask_file(folder: str, root: str, path: str) -> str:
    """Where the mask of an image is: below ``folder`` as the image is below ``root``, with ``.png`` behind its name."""
    start = os.path.join(root, '')
    name = path.removeprefix(start) if path.startswith(start) else os.path.relpath(path, root or '.')
    return os.path.join(folder, name) + '.png'


def folder_of_masks(root: str) -> str:
    """Where masks of the images below ``root`` are, unless something else is said: beside it."""
    return root.rstrip('/') + '_saliency'


def attended(maps: Tensor, mass: float = 0.6) -> Tensor:
    """The fewest patches that together have a share of the attention.

    Args:
        maps: ``(B, heads, h, w)`` attention to the patches, which is averaged over the heads.
        mass: The share.

    Returns:
        ``(B, h, w)`` bool.
    """
    shares = maps.float().mean(1).flatten(1)
    shares, order = (shares / shares.sum(1, keepdim=True)).sort(descending=True)
    before = shares.cumsum(1) - shares
    return torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before < mass).unflatten(1, maps.shape[-2:])


def robust_background(image: Image.Image) -> np.ndarray:
    """Saliency by robust background detection (RBD; Zhu et al., "Saliency optimization from robust background detection", CVPR 2014).

    Superpixels that the border of the image is well connected to are background; what contrasts with background is foreground; a
    least-squares problem makes of both a map that is smooth where colours are.

    Args:
        image: PIL RGB image.

    Returns:
        ``(H, W)`` float32 in [0, 1].

    Raises:
        InputError: scikit-image is not installed.
    """
    regions, colours, places = _superpixels(image)
    count = len(colours)
    near, border = _neighbours(regions, count)
    difference = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    # The border is one: its superpixels are neighbours of each other. A cost of 0 would mean no edge.
    linked = near | border[:, None] & border[None]
    geodesic = shortest_path(np.where(linked, difference + 1e-9, 0.), method='D', directed=False)
    reach = np.exp(-geodesic**2 / (2 * COLOUR**2))
    connectivity = (reach * border).sum(1) / np.sqrt(reach.sum(1))  # Eq. 4: length along the border over the root of the area
    background = 1 - np.exp(-connectivity**2 / (2 * CONNECTIVITY**2))  # Eq. 7
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    closeness = np.exp(-distance**2 / (2 * SPACE**2))
    foreground = _stretched((difference * closeness * background).sum(1))  # Eq. 6
    smooth = np.where(near, np.exp(-difference**2 / (2 * COLOUR**2)) + SMOOTHNESS, 0.)
    laplacian = np.diag(smooth.sum(1)) - smooth
    saliency = np.linalg.solve(np.diag(background + foreground) + laplacian, foreground)  # Eq. 9
    return _stretched(saliency)[regions].astype(np.float32)


def _superpixels(image: Image.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Region of each pixel ``(H, W)``, and of each region the mean colour in CIE Lab and the mean place in [0, 1]."""
    try:
        from skimage.color import rgb2lab
        from skimage.segmentation import slic
    except ImportError:
        raise InputError('saliency by robust background detection needs superpixels: pip install scikit-image, or use the attention of '
                         'a network (--checkpoint)') from None
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    number = int(np.clip(height * width / PIXELS_PER_REGION, 50, 300))
    regions = slic(pixels, n_segments=number, compactness=20, start_label=0)
    regions = np.unique(regions, return_inverse=True)[1].reshape(height, width)
    rows, columns = np.indices((height, width))
    features = [*np.moveaxis(rgb2lab(pixels), -1, 0), rows / height, columns / width]
    sizes = np.bincount(regions.ravel())
    means = np.stack([np.bincount(regions.ravel(), feature.ravel()) / sizes for feature in features], axis=-1)
    return regions, means[:, :3], means[:, 3:]


def _neighbours(regions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which regions touch ``(n, n)``, and which are at the border ``(n,)``."""
    pairs = np.concatenate([
        np.stack([regions[:, :-1].ravel(), regions[:, 1:].ravel()]), np.stack([regions[:-1].ravel(), regions[1:].ravel()])], axis=1)
    touch = coo_array((np.ones(pairs.shape[1]), pairs), shape=(count, count)).toarray() > 0
    touch |= touch.T
    np.fill_diagonal(touch, False)
    border = np.zeros(count, dtype=bool)
    border[np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])] = True
    return touch, border


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / max(values.max() - values.min(), 1e-12)


def missing_masks(folder: str, root: str, paths: Sequence[str]) -> list[str]:
    """Those images below ``root`` that have no mask in ``folder``."""
    present = {os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names}
    return [path for path in paths if mask_file(folder, root, path) not in present]
