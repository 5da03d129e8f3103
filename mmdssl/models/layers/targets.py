"""What there is to predict at masked patches: pixels (MAE) and histograms of oriented gradients (MaskFeat)."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 9


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Pixels ``(B, C, H, W)`` by patch, ``(B, N, P*P*C)``: row-major, the values of a patch in the order row, column, channel."""
    b, c, h, w = images.shape
    patches = images.view(b, c, h // patch_size, patch_size, w // patch_size, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch_size * patch_size * c)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patchify` for a grid of patches ``(h, w)``."""
    pixels = patches.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, grid)  # (B, h, w, P, P, C)
    return pixels.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def normalise_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches ``(..., P*P*C)`` at mean 0 and variance 1 each; also what undoes it, their mean and deviation ``(..., 1)``.

    The variance is the unbiased one and has 1e-6 added, as in MAE's code.
    """
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    deviation = (variance + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


def hog(images: Tensor, cell: int = 8, window: int | None = None) -> Tensor:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) as MaskFeat has them.

    The Sobel gradient of each pixel counts with its magnitude in the one of 9 bins that its direction, without sign, falls into.

    Args:
        images: Normalised, ``(B, C, H, W)``; the sides are multiples of ``cell``.
        cell: Side in pixels of the squares whose pixels share a histogram.
        window: Weigh the pixels by a Gaussian of half this width, tiled over the image, 16 in mmpretrain; None, as the authors.

    Returns:
        ``(B, C, 9, H / cell, W / cell)``, the bins of unit length.
    """
    # In this order what is equal on both sides of a pixel cancels exactly, and rounding does not choose between the last and first bin.
    padded = F.pad(images, (1, 1, 1, 1), mode='reflect')
    columns = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    rows = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gx, gy = columns[..., :-2] - columns[..., 2:], rows[..., :-2, :] - rows[..., 2:, :]
    magnitude = (gx.square() + gy.square()).sqrt()
    bins = (torch.atan2(gx, gy) / math.pi * BINS).floor().long() % BINS
    if window:
        magnitude = magnitude * _tiled_gaussian(window, images)
    histograms = magnitude.new_zeros(*magnitude.shape[:2], BINS, *magnitude.shape[2:]).scatter_(2, bins[:, :, None], magnitude[:, :, None])
    return F.normalize(F.avg_pool2d(histograms.flatten(0, 1), cell).unflatten(0, images.shape[:2]), dim=2)


def _tiled_gaussian(window: int, images: Tensor) -> Tensor:
    distance = torch.arange(window, device=images.device, dtype=images.dtype) - (window - 1) / 2
    weight = (-0.5 * (distance / (window / 2)).square()).exp()
    height, width = images.shape[-2:]
    rows, columns = (weight.repeat(-(-side // window))[:side] for side in (height, width))
    return rows[:, None] * columns


def hog_patches(histograms: Tensor, cells: int) -> Tensor:
    """Histograms ``(B, C, 9, H, W)`` by patch of ``cells`` x ``cells``, ``(B, N, C*9*cells*cells)``: channel, bin, row, column."""
    return F.unfold(histograms.flatten(1, 2), cells, stride=cells).transpose(1, 2)


def hog_cells(patches: Tensor, cells: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`hog_patches` for a grid of patches ``(h, w)``."""
    maps = F.fold(patches.transpose(1, 2), [cells * side for side in grid], cells, stride=cells)
    return maps.unflatten(1, (-1, BINS))
