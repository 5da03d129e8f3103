"""Scores of semantic segmentation, of one matrix of pixel counts over all images.

Its rows are the classes, or clusters, that were found, its columns the true classes.
"""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Counts = np.ndarray | Tensor


def confusion(found: Tensor, masks: Tensor, num_found: int, num_classes: int) -> Tensor:
    """How many pixels of each class there are in each of some groups, ``(num_found, num_classes)`` int64.

    Args:
        found: Numbers of groups, such as predicted classes or clusters, of any shape.
        masks: Classes of the same pixels; from ``num_classes`` on they are not counted.
        num_found: Number of groups.
        num_classes: Of classes.
    """
    counted = masks < num_classes
    pairs = found[counted].long() * num_classes + masks[counted].long()
    return pairs.bincount(minlength=num_found * num_classes).view(num_found, num_classes)


def shrink(masks: Tensor, size: int) -> Tensor:
    """Masks ``(B, S, S)`` to ``(B, size, size)``, int64: pixel i is pixel ``floor(i S / size)``."""
    return F.interpolate(masks[:, None], (size, size), mode='nearest')[:, 0].long()


def class_iou(counts: Counts) -> tuple[Counts, Counts]:
    """Intersection over union of each class ``(K, )`` of predicted classes by true ones ``(K, K)``, and which of them are in either.

    Those that are in neither have 0.
    """
    counts = counts.double() if isinstance(counts, Tensor) else counts
    hits = counts.diagonal()
    unions = counts.sum(0) + counts.sum(1) - hits
    return hits / unions.clip(1), unions > 0


def mean_iou(counts: Counts) -> float:
    """Mean intersection over union in percent, of predicted classes by true ones ``(K, K)``; without classes that are in neither."""
    iou, there = class_iou(counts)
    return float(100 * iou[there].mean())


def pixel_accuracy(counts: Counts) -> float:
    """Share of the pixels that are right, in percent."""
    return 100 * counts.diagonal().sum().item() / counts.sum().item()


def hungarian_iou(counts: np.ndarray) -> float:
    """Mean over all classes, in percent, of the IoU with the predicted class that each is assigned to, of ``(K, K)``.

    The assignment has the largest sum. A class that is neither there nor predicted counts 0.
    """
    iou = _pairwise_iou(counts.T)
    return float(100 * iou[linear_sum_assignment(iou, maximize=True)].sum() / len(iou))


def match_one_to_one(counts: np.ndarray) -> np.ndarray:
    """Classes ``(K, )`` of clusters, of counts ``(K, C)``: each class has one cluster at most, so that the sum of IoU is the largest.

    -1 of clusters beyond the number of classes.
    """
    classes = np.full(len(counts), -1)
    clusters, found = linear_sum_assignment(_pairwise_iou(counts), maximize=True)
    classes[clusters] = found
    return classes


def match_by_precision(counts: np.ndarray) -> np.ndarray:
    """Classes ``(K, )`` of clusters, of counts ``(K, C)``: that of most of a cluster's pixels."""
    return counts.argmax(1)


def matched_iou(counts: np.ndarray, classes: np.ndarray, void_classes: int = 0) -> float:
    """Mean IoU in percent of clusters that are taken for some classes; only classes that occur count, and so many more with an IoU of 0."""
    hits = np.array([counts[classes == number, number].sum() for number in range(counts.shape[1])])
    taken = np.array([counts[classes == number].sum() for number in range(counts.shape[1])])
    present = counts.sum(0)
    occurs = present > 0
    iou = (hits / np.maximum(taken + present - hits, 1))[occurs]
    return float(100 * iou.sum() / (len(iou) + void_classes))


def _pairwise_iou(counts: np.ndarray) -> np.ndarray:
    unions = counts.sum(1, keepdims=True) + counts.sum(0) - counts
    return counts / np.maximum(unions, 1)


def class_counts(masks: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """Pixels of each class in each patch, ``(B, N, num_classes)`` int32.

    Args:
        masks: ``(B, S, S)`` uint8; what is not counted is at least ``num_classes``.
        grid: Rows and columns of patches, of as many whole pixels each.
        num_classes: Of classes.
    """
    rows, columns = grid
    height, width = masks.shape[1] // rows, masks.shape[2] // columns
    pixels = masks.view(len(masks), rows, height, columns, width).transpose(2, 3).flatten(3).flatten(1, 2).long().clamp(max=num_classes)
    counts = torch.zeros(*pixels.shape[:2], num_classes + 1, dtype=torch.int32, device=masks.device)
    return counts.scatter_add_(2, pixels, torch.ones_like(pixels, dtype=torch.int32))[..., :num_classes]
