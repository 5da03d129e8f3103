"""Pictures of what was masked and what a network made of it."""
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from mmdssl.visualization.sheet import fitted, sheet, tile_side


def draw_reconstruction(pictures: Mapping[str, Tensor]) -> Image.Image:
    """A row per image: the image, what was left of it, what the network made of that.

    Args:
        pictures: The columns, ``(B, 3, H, W)`` in 0..1 each, as ``algorithm.pictures(views)`` gives them.
    """
    side = tile_side(len(next(iter(pictures.values()))), len(pictures))
    rows = [[fitted(picture.float(), side) for picture in row] for row in zip(*pictures.values())]
    return sheet(rows, 'What was masked, and what the network answers', columns=list(pictures))


def hog_picture(histograms: Tensor, cell: int) -> Tensor:
    """Histograms of oriented gradients as strokes along the edges, the brighter the more of the cell they make up.

    Args:
        histograms: ``(B, C, 9, h, w)``, of :func:`mmdssl.models.layers.targets.hog`; negative predictions count as 0.
        cell: Side of a cell in pixels.

    Returns:
        ``(B, 3, h * cell, w * cell)`` in 0..1, grey, of the mean over channels.
    """
    bins = histograms.shape[2]
    place = torch.arange(cell, device=histograms.device) - (cell - 1) / 2
    angle = (torch.arange(bins, device=histograms.device) + 0.5) * math.pi / bins
    # A bin is the angle from the y axis of the gradient (sin, cos), across which the edge lies.
    distance = (angle.sin()[:, None, None] * place + angle.cos()[:, None, None] * place[:, None]).abs()
    strokes = (1 - distance).clamp(min=0)
    picture = torch.einsum('bkhw,kyx->bhywx', histograms.mean(1).clamp(min=0), strokes).flatten(3, 4).flatten(1, 2)
    picture = picture / picture.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return picture[:, None].expand(-1, 3, -1, -1)


def code_picture(codes: Tensor, size: int) -> Tensor:
    """Codes as squares of colours, the same for the same code; ``(B, h, w)`` to ``(B, 3, h * size, w * size)`` in 0..1."""
    scrambled = torch.stack([codes * prime % 256 for prime in (7919, 104729, 1299709)], dim=1) / 255
    return scrambled.repeat_interleave(size, 2).repeat_interleave(size, 3)
