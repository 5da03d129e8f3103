"""Patch features as colours."""
from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from mmdssl.visualization.sheet import blocks, fitted, sheet, tile_side

QUANTILES = 0.02, 0.98


def draw_principal(images: Tensor, colours: Tensor) -> Image.Image:
    """A column per image: the image, and its patches in the colours of :func:`principal_colours`."""
    side = tile_side(2, len(images))
    patches = [Image.fromarray((255 * blocks(each, side)).round().astype('uint8')) for each in colours]
    return sheet([[fitted(image, side) for image in images], patches], 'Patch features as colours',
                 'Red, green and blue are the three main directions in which the patches of all images differ.')


def principal_colours(maps: Tensor, foreground: bool = False) -> Tensor:
    """The first three principal components of all patches together as red, green and blue.

    Each is stretched from its 2nd to its 98th percentile. Directions are those in which the components lean to the right, so that the
    same features have the same colours.

    Args:
        maps: Features ``(B, D, h, w)``.
        foreground: Leave out what the first component takes for the background, which is then black: of its two sides, the one on
            which most patches at the border of the images lie. The components are those of the rest.

    Returns:
        ``(B, 3, h, w)`` in 0..1; grey where features do not differ.
    """
    batch, _, height, width = maps.shape
    features = maps.double().cpu().movedim(1, -1).flatten(0, 2)
    kept = torch.ones(len(features), dtype=torch.bool)
    if foreground:
        first = _components(features)[:, 0]
        border = torch.ones(batch, height, width, dtype=torch.bool)
        border[:, 1:-1, 1:-1] = False
        kept = first > 0 if (first[border.flatten()] > 0).double().mean() < 0.5 else first <= 0
    colours = torch.zeros(len(features), 3, dtype=torch.double)
    if kept.any():
        components = _components(features[kept])
        low, high = (components.quantile(share, dim=0) for share in QUANTILES)
        stretched = ((components - low) / (high - low)).clamp(0, 1)
        colours[kept] = torch.where(high - low > 1e-9, stretched, 0.5)
    return colours.float().unflatten(0, (batch, height, width)).movedim(-1, 1)


def _components(features: Tensor) -> Tensor:
    """Of rows ``(n, D)``, ``(n, 3)`` in units of the largest deviation; 0 where there are fewer."""
    centred = features - features.mean(0)
    values, directions = torch.linalg.eigh(centred.T @ centred)
    known = min(3, features.shape[1])
    components = centred @ directions.flip(1)[:, :known]
    size = values[-1].clamp(min=0).sqrt()
    if size <= 1e-7 * features.norm():  # what rounding leaves of equal features
        return features.new_zeros(len(features), 3)
    components = components * components.pow(3).sum(0).sign() / size
    return torch.nn.functional.pad(components, (0, 3 - known))
