"""Retrieval of images of the same building: ROxford5k and RParis6k.

Radenovic et al., "Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking", CVPR 2018.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdssl.arguments import NonEmpty, PositiveInt
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.registry import METRICS

# What is looked for in each setting, and what counts as if it were not in the database.
SETTINGS = dict(easy=(('easy', ), ('junk', 'hard')), medium=(('easy', 'hard'), ('junk', )), hard=(('hard', ), ('junk', 'easy')))


def average_precision(ranks: Sequence[int], num_positives: int) -> float:
    """Area under precision over recall by trapezoids, as Oxford's code has it; it is lower than the mean of the precisions.

    Args:
        ranks: Of the positives that were found, from 0, ascending.
        num_positives: How many there are.
    """
    area = 0.
    for found, rank in enumerate(ranks):
        before = found / rank if rank else 1.
        area += (before + (found + 1) / (rank + 1)) / 2
    return area / num_positives


def ranks_of_positives(ranking: np.ndarray, positives: Sequence[int], junk: Sequence[int] = ()) -> np.ndarray:
    """Ranks, from 0, of the positives in a ranking ``(n,)`` of positions from which the junk is taken out."""
    kept = ranking[~np.isin(ranking, junk)]
    return np.flatnonzero(np.isin(kept, positives))


def precision_at(ranks: Sequence[int], k: int) -> float:
    """Share of positives among the first k, or up to the last positive where that comes earlier."""
    k = min(max(ranks) + 1, k)
    return sum(rank < k for rank in ranks) / k


class RetrievalScores(NamedTuple):
    """Means over the queries, shares of 1.

    Attributes:
        average_precision: Mean average precision.
        precision: Mean precision at each k.
        num_queries: Queries with a positive; the others do not count.
    """
    average_precision: float
    precision: dict[int, float]
    num_queries: int


def score_rankings(rankings: np.ndarray, truth: Sequence[Mapping[str, Sequence[int]]], setting: str,
                   k: Sequence[int] = (1, 5, 10)) -> RetrievalScores:
    """Scores of rankings of the whole database.

    Args:
        rankings: ``(queries, n)`` positions in the database, most similar first.
        truth: Of each query the positions that are ``easy``, ``hard`` and ``junk``.
        setting: ``'easy'``, ``'medium'`` or ``'hard'``.
        k: Of the precision.
    """
    wanted, ignored = SETTINGS[setting]
    averages, precisions = [], []
    for ranking, query in zip(rankings, truth):
        positives, junk = ([position for group in groups for position in query[group]] for groups in (wanted, ignored))
        if not positives:
            continue
        ranks = ranks_of_positives(ranking, positives, junk)
        averages.append(average_precision(ranks, len(positives)))
        precisions.append([precision_at(ranks, each) for each in k])
    if not averages:
        return RetrievalScores(float('nan'), dict.fromkeys(k, float('nan')), 0)
    return RetrievalScores(float(np.mean(averages)), dict(zip(k, np.mean(precisions, axis=0).tolist())), len(averages))


def rank_database(queries: Tensor, database: Tensor, top: int | None = None) -> np.ndarray:
    """Positions ``(queries, top)`` of descriptors ``(n, D)`` by their cosine, of equal ones the first first."""
    cosines = F.normalize(queries, dim=1) @ F.normalize(database, dim=1).T
    return cosines.argsort(dim=1, descending=True, stable=True)[:, :top].cpu().numpy()


def collect_descriptors(results: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Descriptors ``(n, D)`` in the order of their dataset, of pairs with their index there."""
    return torch.stack([descriptor for _, descriptor in sorted(results, key=lambda result: result[0])])


@METRICS.register_module()
class RetrievalMetric(SampleMetric):
    """``mAP_medium``, ``mAP_hard`` and ``mAP_easy``, and ``mP@{k}_medium`` ..., in percent, of :class:`mmdssl.datasets.RevisitedDataset`.

    A setting without a query that has something to find is left out.

    Args:
        k: Of the precisions.
        prefix: MMEngine's.
    """

    def __init__(self, k: Annotated[Sequence[PositiveInt], NonEmpty] = (1, 5, 10), prefix: str | None = None):
        super().__init__(prefix)
        self.k = k

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        self.results.extend((sample['index'], sample['descriptor'].cpu()) for sample in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        descriptors, number = collect_descriptors(results), self.dataset_meta['num_database']
        rankings = rank_database(descriptors[number:], descriptors[:number])
        metrics = {}
        for setting in ('medium', 'hard', 'easy'):
            scores = score_rankings(rankings, self.dataset_meta['truth'], setting, self.k)
            if scores.num_queries:
                metrics[f'mAP_{setting}'] = 100 * scores.average_precision
                metrics.update({f'mP@{k}_{setting}': 100 * value for k, value in scores.precision.items()})
        return metrics
