"""Weighted k-nearest-neighbour classification, as in DINO's evaluation."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor

from mmdssl.arguments import NonEmpty, Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import METRICS

NO_CLASS = -1


def knn_classify(bank: Tensor, bank_labels: Tensor, queries: Tensor, num_classes: int, k: Sequence[int] = (20, ),
                 temperature: float = 0.07, top: int = 5, chunk: int = 256) -> dict[int, Tensor]:
    """Classes of the queries by the votes ``exp(cosine / temperature)`` of their k nearest neighbours.

    Args:
        bank: L2-normalised features ``(n, D)`` among which neighbours are looked for.
        bank_labels: Their classes ``(n,)``, from 0.
        queries: L2-normalised features ``(m, D)``.
        num_classes: Number of classes.
        k: Numbers of neighbours; one larger than the bank means the whole bank.
        temperature: Of the votes.
        top: How many classes to return.
        chunk: Queries compared with the bank at a time: ``chunk * n`` similarities are in memory.

    Returns:
        For every k the classes with most votes ``(m, min(top, num_classes))``, best first, ``NO_CLASS`` where fewer
        classes have a vote.
    """
    ranking = {size: [torch.empty(0, min(top, num_classes), dtype=torch.long, device=bank.device)] for size in k}
    for some in queries.split(chunk):
        similarity, neighbours = (some @ bank.T).topk(min(max(k), len(bank)))
        votes, classes = (similarity / temperature).exp(), bank_labels[neighbours]
        for size in k:
            scores = votes.new_zeros(len(some), num_classes).scatter_add_(1, classes[:, :size], votes[:, :size])
            best = scores.topk(min(top, num_classes))
            ranking[size].append(best.indices.where(best.values > 0, NO_CLASS))
    return {size: torch.cat(parts) for size, parts in ranking.items()}


@METRICS.register_module()
class KNNMetric:
    """Accuracy of weighted k-NN in percent: ``knn{k}_top1``, and ``knn{k}_top5`` for 5 or more neighbours and classes.

    Args:
        k: Numbers of neighbours, or a single one.
        temperature: Of the votes.

    Raises:
        InputError: When called: the bank has fewer images than a number of neighbours.
    """

    def __init__(self, k: PositiveInt | Annotated[Sequence[PositiveInt], NonEmpty] = (10, 20), temperature: Positive = 0.07):
        self.k = (k, ) if isinstance(k, int) else tuple(k)
        self.temperature = temperature

    def check_bank(self, size: int) -> None:
        """Raise an InputError where so many images have fewer neighbours than are asked for."""
        if max(self.k) > size:
            raise InputError(f'KNNMetric has k={max(self.k)}, but the bank has {size} images: lower val_evaluator.k, or take more '
                             'images')

    def __call__(self, bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor,
                 num_classes: int) -> dict[str, float]:
        """All processes are given the same features and labels; each classifies a share of the queries."""
        self.check_bank(len(bank))
        rank, processes = get_dist_info()
        mine = slice(rank, None, processes)
        ranking = knn_classify(bank, bank_labels, queries[mine], num_classes, self.k, self.temperature)
        metrics = {}
        for k, classes in ranking.items():
            hits = classes == labels[mine, None]
            for top in (1, 5) if min(k, num_classes) >= 5 else (1, ):
                correct = hits[:, :top].sum()
                all_reduce(correct)
                metrics[f'knn{k}_top{top}'] = 100 * correct.item() / len(queries)
        return metrics
