"""Pictures of which images, and which patches, a network takes for alike."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmdssl.visualization.sheet import Scale, Tile, fitted, framed, heated, sheet, tile_side


def draw_neighbours(images: Tensor, neighbours: Tensor, cosines: Tensor) -> Image.Image:
    """A row per query: the image, and those most like it.

    Args:
        images: ``(n, 3, H, W)`` uint8, the queries first.
        neighbours: For each query the positions of its neighbours, the nearest first, ``(B, k)``.
        cosines: How much alike they are, ``(B, k)``.
    """
    side = tile_side(len(neighbours), 1 + neighbours.shape[1])
    rows = [[Tile(fitted(images[i], side)), *(Tile(fitted(images[j], side), f'{cosine:.2f}') for j, cosine in zip(found, alike))]
            for i, (found, alike) in enumerate(zip(neighbours.tolist(), cosines.tolist()))]
    return sheet(rows, f'The nearest of {len(images) - 1} images', 'Numbers: cosine of their features.', ['image', 'nearest'])


def nearest_images(features: Tensor, queries: int, k: int) -> tuple[Tensor, Tensor]:
    """Of each of the first so many images the k others with the most similar features ``(n, D)``, and the cosines, ``(queries, k)``."""
    features = F.normalize(features.float(), dim=1)
    cosines = features[:queries] @ features.T
    cosines.fill_diagonal_(-torch.inf)
    found = cosines.topk(min(k, len(features) - 1), dim=1)
    return found.indices, found.values


def draw_patch_neighbours(images: Tensor, patch: int, neighbours: Tensor, maps: Tensor) -> Image.Image:
    """A row per query: the image and its patch, and the images with the patches most like it.

    Args:
        images: ``(n, 3, H, W)`` uint8, the queries first.
        patch: Which one of each query, row-major.
        neighbours: The images, the nearest first, ``(B, k)``.
        maps: Cosine of each of their patches with that of the query, ``(B, k, h, w)``.
    """
    side, grid = tile_side(len(neighbours), 1 + neighbours.shape[1]), tuple(maps.shape[2:])
    rows = []
    for i, (found, alike) in enumerate(zip(neighbours.tolist(), maps)):
        tiles = [Tile(framed(heated(images[j], values, side), int(values.argmax()), grid), f'{values.max():.2f}')
                 for j, values in zip(found, alike)]
        rows.append([Tile(framed(fitted(images[i], side), patch, grid)), *tiles])
    return sheet(rows, f'The patches most like one, in {len(images) - 1} other images', 'Numbers: cosine of the framed patches.',
                 ['patch', 'nearest'], Scale('cosine 0', '1'))


def nearest_patches(maps: Tensor, queries: int, patch: int, k: int) -> tuple[Tensor, Tensor]:
    """For a patch of each of the first so many images the k other images in which the most similar one is.

    Args:
        maps: Features ``(n, D, h, w)``.
        queries: Number of images.
        patch: Position of the patch, row-major.
        k: How many.

    Returns:
        Positions of the images, the nearest first, ``(queries, k)``, and the cosines of all of their patches,
        ``(queries, k, h, w)``.
    """
    cells = F.normalize(maps.float(), dim=1).flatten(2)
    cosines = torch.einsum('qd,ndp->qnp', cells[:queries, :, patch], cells)
    best = cosines.amax(2).fill_diagonal_(-torch.inf)
    found = best.topk(min(k, len(maps) - 1), dim=1).indices
    return found, cosines.take_along_dim(found[..., None], dim=1).unflatten(2, maps.shape[2:])
