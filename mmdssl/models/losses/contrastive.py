"""Contrastive losses: which of many rows belongs to mine? And Barlow Twins', which asks it of the dimensions."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import get_dist_info
from torch import Tensor

from mmdssl.models.losses.distillation import full_precision
from mmdssl.models.losses.gather import gather, total


@full_precision
def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Of unit vectors ``(..., D)`` with those at the same places, ``(...)``; not in the few digits of mixed precision."""
    return torch.linalg.vecdot(first, second)


@full_precision
def queue_contrast(query: Tensor, key: Tensor, queue: Tensor, temperature: float, own: Tensor | None = None) -> Tensor:
    """InfoNCE with the positives of a batch and the negatives of a queue (MoCo, Eq. 1).

    Args:
        query: Unit vectors ``(..., D)``.
        key: Of the same images or places, ``(..., D)``.
        queue: Of other images, ``(K, D)``.
        temperature: Of the softmax over the positive and all negatives.
        own: More negatives, ``(..., n, D)``, n of each query's own.

    Returns:
        Scalar, the mean over the queries.
    """
    logits = [torch.linalg.vecdot(query, key)[..., None], query @ queue.T]
    if own is not None:
        logits.append(torch.linalg.vecdot(query[..., None, :], own))
    logits = torch.cat(logits, dim=-1) / temperature
    return (logits.logsumexp(-1) - logits[..., 0]).mean()


@full_precision
def batch_contrast(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """InfoNCE among the keys of a batch, those of all processes (MoCo v3, Algorithm 1), without its factor ``2 T``.

    Args:
        query: Unit vectors ``(B, D)``.
        key: Of the same images, ``(B, D)``; without a gradient.
        temperature: Of the softmax over the keys.

    Returns:
        Scalar, the mean over the queries of this process.
    """
    keys = gather(key.detach()).flatten(0, 1)
    rank, _ = get_dist_info()
    mine = torch.arange(len(query), device=query.device) + rank * len(query)
    return F.cross_entropy(query @ keys.T / temperature, mine)


@full_precision
def view_contrast(latents: Tensor, labels: Tensor | None, temperature: float, inside: bool = False,
                  anchors: int | None = None) -> Tensor:
    """Each view of an image against all other views of all images of all processes (SimCLR's NT-Xent, SupCon).

    Positives of a view are the other views of its image and, with labels, the views of the images of its class. Its loss is::

        L_out = -1/|P| sum_p log(exp(z.z_p / T) / sum_a exp(z.z_a / T))        (SupCon, Eq. 2; NT-Xent where |P| = 1)
        L_in  = -log(1/|P| sum_p exp(z.z_p / T) / sum_a exp(z.z_a / T))        (SupCon, Eq. 3; never above L_out)

    where a runs over all but the view itself. A view without a positive has loss 0.

    Args:
        latents: Unit vectors ``(V, B, D)``.
        labels: Classes ``(B,)``; without them every image is a class of its own.
        temperature: T.
        inside: L_in instead of L_out.
        anchors: Only the first so many views of each image look for their positives, among all views; None for all.

    Returns:
        Scalar, the mean over the views of the images of this process that look.
    """
    num_views, num_images = latents.shape[:2]
    looking = latents[:anchors]
    rank, world = get_dist_info()
    if labels is None:
        labels = torch.arange(num_images, device=latents.device) + rank * num_images
    columns = gather(latents).flatten(0, 2)  # by process, view and image
    classes = gather(labels)[:, None].expand(world, num_views, num_images).flatten()
    logits = looking.flatten(0, 1) @ columns.T / temperature
    rows = torch.arange(len(logits), device=logits.device)
    others = torch.ones_like(logits, dtype=torch.bool)
    others[rows, rows + rank * num_views * num_images] = False
    positive = (labels.repeat(len(looking))[:, None] == classes) & others
    every = logits.masked_fill(~others, -torch.inf).logsumexp(1)
    number = positive.sum(1)
    alone = number == 0
    number = number.clamp(min=1).to(logits.dtype)
    if inside:
        losses = every - logits.masked_fill(~(positive | alone[:, None]), -torch.inf).logsumexp(1) + number.log()
    else:
        losses = every - (logits * positive).sum(1) / number
    return losses.masked_fill(alone, 0.).mean()


@full_precision
def redundancy(first: Tensor, second: Tensor, off_diagonal_weight: float) -> Tensor:
    """Distance of the cross-correlation of two views from the identity (Barlow Twins, Eq. 1).

    Args:
        first: Latents ``(B, D)`` of one view, standardised over the images of all processes.
        second: Of another view.
        off_diagonal_weight: lambda.

    Returns:
        Scalar ``sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2``.
    """
    _, world = get_dist_info()
    correlation = total(first.T @ second) / (len(first) * world)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal_weight * off_diagonal
