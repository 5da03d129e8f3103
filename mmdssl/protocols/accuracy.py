"""Accuracy of classifiers."""
from __future__ import annotations

import torch
from torch import Tensor

from mmdssl.registry import METRICS


def rank_of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes have a higher score than the true one, and of those with the same score how many come before it.

    Args:
        scores: ``(B, H, K)``, of H classifiers. One that is not a number is below all others.
        labels: ``(B,)``.

    Returns:
        ``(B, H)``: 0 is correct, below 5 is among the best five.
    """
    scores = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    true = labels[:, None, None].expand(-1, scores.shape[1], 1)
    score = scores.gather(2, true)
    before = torch.arange(scores.shape[2], device=scores.device) < true
    return ((scores > score) | (scores == score) & before).sum(-1)


def mean_accuracy(ranks: Tensor, labels: Tensor, num_classes: int) -> dict[str, list[float]]:
    """Accuracies in percent of H classifiers, each a list.

    Args:
        ranks: ``(n, H)`` of :func:`rank_of_label`.
        labels: ``(n,)``.
        num_classes: Of the classifiers.

    Returns:
        ``top1``; ``top5`` of 5 classes or more; ``class_top1``, the mean over the classes that have images.
    """
    hits = (ranks == 0).double()
    counts = torch.bincount(labels, minlength=num_classes).double()
    by_class = torch.zeros(num_classes, hits.shape[1], dtype=hits.dtype, device=hits.device).index_add_(0, labels, hits)
    found = dict(top1=hits.mean(0), class_top1=(by_class[counts > 0] / counts[counts > 0, None]).mean(0))
    if num_classes >= 5:
        found['top5'] = (ranks < 5).double().mean(0)
    return {name: (100 * value).tolist() for name, value in found.items()}


@METRICS.register_module()
class AccuracyMetric:
    """Of trained classifiers, by :class:`mmdssl.engine.ClassificationLoop`: :func:`mean_accuracy`.

    Args:
        by_class: Report the mean over classes too.
    """

    def __init__(self, by_class: bool = False):
        self.by_class = by_class

    def __call__(self, ranks: Tensor, labels: Tensor, num_classes: int) -> dict[str, list[float]]:
        found = mean_accuracy(ranks, labels, num_classes)
        return {name: values for name, values in found.items() if self.by_class or name != 'class_top1'}
