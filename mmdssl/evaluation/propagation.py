"""Labels of the first frame of a video, carried through it by the similarity of features.

Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, in the form DINO evaluates with.
"""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

VOID = 255
TILE = 8


@torch.no_grad()
def propagate(features: Tensor, first: Tensor, context_frames: int = 7, radius: int | None = 12, top_k: int = 5,
              temperature: float = 0.1) -> Tensor:
    """Soft labels of every frame from the labels of the first.

    A token takes the mean of the labels of similar tokens, weighted by ``exp(cosine / temperature)``. They are looked
    for in its context: the first frame and the frames just before, with the labels that those were given.

    Args:
        features: ``(T, D, h, w)``, L2-normalised along D.
        first: Ids ``(h, w)`` of the first frame's tokens.
        context_frames: Number of frames just before the target that are context, besides the first.
        radius: Context tokens are at most so many rows and columns away; None for no limit.
        top_k: So many tokens of the whole context count, and those that are as similar as the last of them.
        temperature: Of the weights.

    Returns:
        ``(T, C, h, w)``, sum 1 over the ``C = first.max() + 1`` ids; that of the first frame is one-hot.
    """
    tokens = features.permute(0, 2, 3, 1).contiguous()
    onehot = F.one_hot(first.long()).to(tokens)
    labels = onehot.new_zeros(len(tokens), *onehot.shape)
    labels[0] = onehot
    tiles = _tiles(*first.shape, max(first.shape) if radius is None else radius, tokens.device)
    for t in range(1, len(tokens)):
        context = torch.tensor([0, *range(max(1, t - context_frames), t)], device=tokens.device)
        for tile, near, far in tiles:
            around = (context, *near)
            labels[t][tile] = _carry(tokens[t][tile], tokens[around], labels[around], far, top_k, temperature)
    return labels.permute(0, 3, 1, 2)


def _tiles(height: int, width: int, radius: int, device: torch.device) -> list[tuple[tuple, tuple, Tensor]]:
    """Tiles that cover a grid: the rows and columns of each, those around it, and which tokens are too far from which.

    The last is ``(tokens of the tile, tokens around)``. Small tiles have few around them that are too far.
    """
    return [((rows, columns), (near_rows, near_columns),
             (far_rows[:, None, :, None] | far_columns[:, None]).flatten(2).flatten(0, 1))
            for rows, near_rows, far_rows in _stretches(height, radius, device)
            for columns, near_columns, far_columns in _stretches(width, radius, device)]


def _stretches(length: int, radius: int, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """One side of the tiles: the same three things along rows, or along columns."""
    index = torch.arange(length, device=device)
    for start in range(0, length, TILE):
        place, near = slice(start, start + TILE), slice(max(start - radius, 0), start + TILE + radius)
        yield place, near, (index[place, None] - index[near]).abs() > radius


def _carry(targets: Tensor, sources: Tensor, labels: Tensor, far: Tensor, top_k: int, temperature: float) -> Tensor:
    """Labels ``(a, b, C)`` of a tile's targets ``(a, b, D)``, from those of n frames' sources ``(n, c, d, D)``."""
    cosines = (targets.flatten(0, 1) @ sources.flatten(1, 2).mT).masked_fill_(far, -torch.inf)
    # the best of all frames are among the best of each
    best = cosines.topk(min(top_k, cosines.shape[2]), dim=2).values.transpose(0, 1).flatten(1)
    best = best.topk(min(top_k, best.shape[1]), dim=1).values
    highest, lowest = best[:, :1], best[:, -1:]
    # less the highest, against overflow: it cancels in the mean
    weights = cosines.masked_fill_(cosines < lowest, -torch.inf).sub_(highest).div_(temperature).exp_()
    carried = (weights @ labels.flatten(1, 2)).sum(0) / weights.sum((0, 2))[:, None]
    return carried.view(*targets.shape[:2], -1)


def tokens_of_mask(mask: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """Ids ``(H, W)`` uint8 of pixels to ids of a grid of tokens, by nearest neighbour; void becomes background."""
    return torch.from_numpy(_resize(np.where(mask == VOID, 0, mask), grid).astype(np.int64))


@torch.no_grad()
def masks_of_labels(labels: Tensor, size: tuple[int, int], original: tuple[int, int]) -> np.ndarray:
    """Soft labels to masks: each id's map is stretched to [0, 1], then the highest id of each pixel wins.

    A map that is the same everywhere, such as that of the background once all objects are lost, is not stretched.

    Args:
        labels: ``(T, C, h, w)``.
        size: Height and width the network saw, where ids are compared.
        original: Height and width ``(H, W)`` of the video.

    Returns:
        ``(T, H, W)`` uint8.
    """
    masks = np.empty((len(labels), *original), np.uint8)
    for mask, maps in zip(masks, labels):
        maps = F.interpolate(maps[None], size=size, mode='bilinear', align_corners=False)[0]
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        stretched = torch.where(high > low, (maps - low) / (high - low), maps)
        mask[:] = _resize(stretched.argmax(0).byte().cpu().numpy(), original)
    return masks


def _resize(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))
