"""Scores of semantic segmentation, of one matrix of pixel counts over all images."""
from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


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


def mean_iou(counts: Tensor) -> float:
    """Mean intersection over union in percent, of predicted classes by true ones ``(K, K)``; without classes that are in neither."""
    hits = counts.diagonal().double()
    unions = counts.sum(0) + counts.sum(1) - hits
    return 100 * (hits / unions)[unions > 0].mean().item()


def match_one_to_one(counts: np.ndarray) -> np.ndarray:
    """Classes ``(K, )`` of clusters, of counts ``(K, C)``: each class has one cluster at most, so that the sum of IoU is the largest.

    -1 of clusters beyond the number of classes.
    """
    unions = counts.sum(1, keepdims=True) + counts.sum(0) - counts
    classes = np.full(len(counts), -1)
    clusters, found = linear_sum_assignment(counts / np.maximum(unions, 1), maximize=True)
    classes[clusters] = found
    return classes


def match_by_precision(counts: np.ndarray) -> np.ndarray:
    """Classes ``(K, )`` of clusters, of counts ``(K, C)``: that of most of a cluster's pixels."""
    return counts.argmax(1)


def matched_iou(counts: np.ndarray, classes: np.ndarray) -> float:
    """Mean IoU in percent of clusters that are taken for some classes; only classes that occur count."""
    hits = np.array([counts[classes == number, number].sum() for number in range(counts.shape[1])])
    taken = np.array([counts[classes == number].sum() for number in range(counts.shape[1])])
    present = counts.sum(0)
    occurs = present > 0
    return float(100 * np.mean((hits / np.maximum(taken + present - hits, 1))[occurs]))


def class_counts(masks: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """Pixels of each class in each patch, ``(B, N, num_classes)`` fp32.

    Args:
        masks: ``(B, S, S)``; what is not counted is at least ``num_classes``.
        grid: Rows and columns of patches, into which the masks are cut.
        num_classes: Of classes.
    """
    number, shape = grid[0] * grid[1], (len(masks), grid[0] * grid[1], num_classes)
    rows, columns = (torch.arange(size, device=masks.device) * patches // size for size, patches in zip(masks.shape[1:], grid))
    patches = torch.arange(len(masks), device=masks.device)[:, None, None] * number + rows[:, None] * grid[1] + columns
    return confusion(patches, masks, len(masks) * number, num_classes).view(shape).float()
