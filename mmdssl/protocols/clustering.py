"""How well k-means on frozen features finds the classes again."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_reduce, get_dist_info
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from mmdssl.arguments import NonEmpty, PositiveInt, at_least
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor, Features
from mmdssl.registry import METRICS


class ClusterScores(NamedTuple):
    """In percent.

    Attributes:
        nmi: Normalised mutual information, by the arithmetic mean of the entropies.
        ari: Adjusted Rand index; 0 for clusters by chance, also below.
        accuracy: Share of images in the cluster of their class, by the best assignment of clusters to classes.
    """
    nmi: float
    ari: float
    accuracy: float


def cluster_scores(clusters: np.ndarray, labels: np.ndarray) -> ClusterScores:
    """Compare clusters ``(n,)`` with classes ``(n,)``, both numbered in any way."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # takes seconds to import
    return ClusterScores(100 * normalized_mutual_info_score(labels, clusters), 100 * adjusted_rand_score(labels, clusters),
                         100 * hungarian_accuracy(clusters, labels))


def hungarian_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose cluster is assigned to their class, where each class has one cluster at most, in the best way."""
    (_, clusters), (_, labels) = (np.unique(given, return_inverse=True) for given in (clusters, labels))
    together = np.zeros((clusters.max() + 1, labels.max() + 1), int)
    np.add.at(together, (clusters, labels), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(labels))


def draw_classes(num_classes: int, k: int, draws: int, seed: int = 0) -> list[np.ndarray]:
    """Some random sets of k of the classes, sorted; the same for the same arguments."""
    return [np.sort(np.random.default_rng((seed, k, draw)).permutation(num_classes)[:k]) for draw in range(draws)]


@METRICS.register_module()
class ClusteringMetric:
    """Agreement of k-means with the classes: ``nmi{k}``, ``ari{k}`` and ``accuracy{k}`` in percent, see :class:`ClusterScores`.

    For each k, some classes are drawn, all queries of them are clustered into k groups, and the scores are means over the draws. The bank
    is not used.

    Args:
        k: Numbers of classes; of those beyond what the data has, all its classes take the place.
        draws: Of classes, for each k.
        n_init: Times that k-means begins anew; the tightest clusters are taken.
        seed: Of the draws and of k-means.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors, which are
            L2-normalised.

    Raises:
        InputError: When called: the queries have fewer than 2 classes.
    """

    uses_bank = False

    def __init__(self, k: Annotated[Sequence[Annotated[int, at_least(2)]], NonEmpty] = (10, 20, 50, 100, 200), draws: PositiveInt = 10,
                 n_init: PositiveInt = 10, seed: int = 0, extractor: Mapping | Extractor | None = None):
        self.k = tuple(k)
        self.draws = draws
        self.n_init = n_init
        self.seed = seed
        self.extractor = Extractor.of(extractor)

    def __call__(self, bank: Features | None, queries: Features) -> dict[str, float]:
        """All processes are given the same features; each clusters a share of the draws."""
        from sklearn.cluster import KMeans
        values, labels = normalize(queries.values, dim=-1).cpu().numpy(), queries.labels.cpu().numpy()
        present = np.unique(labels)
        if len(present) < 2:
            raise InputError(f'clustering needs images of 2 classes at least, and the queries have {len(present)}: take more of them')
        sizes = sorted({min(k, len(present)) for k in self.k})
        tasks = [(k, draw, present[drawn]) for k in sizes for draw, drawn in enumerate(draw_classes(
            len(present), k, self.draws, self.seed))]
        scores = torch.zeros(len(tasks), 3, dtype=torch.float64)
        rank, processes = get_dist_info()
        for i in range(rank, len(tasks), processes):
            k, draw, drawn = tasks[i]
            members = np.isin(labels, drawn)
            means = KMeans(k, n_init=self.n_init, random_state=self.seed + draw)
            scores[i] = torch.tensor(cluster_scores(means.fit_predict(values[members]), labels[members]))
        scores = scores.to(queries.values.device)
        all_reduce(scores)
        means = scores.view(len(sizes), self.draws, 3).mean(1).tolist()
        return {f'{name}{k}': value for k, found in zip(sizes, means) for name, value in zip(ClusterScores._fields, found)}
