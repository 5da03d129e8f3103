"""Weighted k-nearest-neighbour classification, as in DINO's evaluation."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor
from torch.nn.functional import normalize

from mmdssl.arguments import NonEmpty, Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor, Features
from mmdssl.registry import METRICS

SUMS_IN_FP32 = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 8)  # which torch.mm of bf16 gives from there on

NO_CLASS = -1


def nearest(bank: Tensor, queries: Tensor, k: int, chunk: int = 256, bank_chunk: int = 1 << 17) -> tuple[Tensor, Tensor]:
    """The k nearest neighbours of each query by cosine, exactly.

    The bank is read once, from beginning to end, so it may be a file that is mapped into memory and larger than that.

    Args:
        bank: ``(n, D)`` on any device, of any length but 0; in bf16 its rows are taken for normalised, and queries are rounded too.
        queries: ``(m, D)``; the work is done where they are.
        k: Number of neighbours; the whole bank where it has fewer.
        chunk: Queries compared at a time.
        bank_chunk: Part of the bank in memory at a time; ``chunk * bank_chunk`` cosines are, too.

    Returns:
        Cosines and indices in the bank, ``(m, min(k, n))``, nearest first.
    """
    queries = normalize(queries, dim=-1)
    best: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(bank), bank_chunk):
        part = bank[start:start + bank_chunk].to(queries.device)
        part = part if bank.dtype == torch.bfloat16 else normalize(part, dim=-1)
        for i, some in enumerate(queries.split(chunk)):
            cosines, indices = largest(_products(some, part), min(k, len(part)))
            indices += start
            if start:
                cosines, indices = torch.cat([best[i][0], cosines], 1), torch.cat([best[i][1], indices], 1)
                cosines, order = cosines.topk(min(k, cosines.shape[1]))
                best[i] = cosines, indices.gather(1, order)
            else:
                best.append((cosines, indices))
    cosines, indices = zip(*best)
    return torch.cat(cosines), torch.cat(indices)


def largest(values: Tensor, k: int, group: int = 32) -> tuple[Tensor, Tensor]:
    """``values.topk(k)`` of ``(m, n)``, faster where n is large: the groups of columns with the k largest maxima hold the k largest."""
    per_group = values.shape[1] // group
    if per_group < 4 * k:
        return values.topk(k)
    whole = per_group * group
    groups = values[:, :whole].view(-1, group, per_group).amax(1).topk(k).indices
    columns = torch.arange(0, whole, per_group, device=values.device)[:, None] + groups[:, None]
    rest = torch.arange(whole, values.shape[1], device=values.device).expand(len(values), -1)
    columns = torch.cat([columns.flatten(1), rest], 1)
    found, places = values.gather(1, columns).topk(k)
    return found, columns.gather(1, places)


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    """Inner products in fp32, of fp32 queries and keys in fp32 or bf16."""
    if keys.dtype != torch.bfloat16:
        return queries @ keys.T
    queries = queries.bfloat16()
    if keys.is_cuda and SUMS_IN_FP32:
        return torch.mm(queries, keys.T, out_dtype=torch.float32)
    return queries.float() @ keys.float().T


def knn_classify(bank: Tensor, bank_labels: Tensor, queries: Tensor, num_classes: int, k: Sequence[int] = (20, ),
                 temperature: float = 0.07, top: int = 5, chunk: int = 256, bank_chunk: int = 1 << 17) -> dict[int, Tensor]:
    """Classes of the queries by the votes ``exp(cosine / temperature)`` of their k nearest neighbours.

    Args:
        bank: Features ``(n, D)`` among which neighbours are looked for, see :func:`nearest`.
        bank_labels: Their classes ``(n,)``, from 0.
        queries: Features ``(m, D)``.
        num_classes: Number of classes.
        k: Numbers of neighbours; one larger than the bank means the whole bank.
        temperature: Of the votes.
        top: How many classes to return.
        chunk: See :func:`nearest`.
        bank_chunk: The same.

    Returns:
        For every k the classes with most votes ``(m, min(top, num_classes))``, best first, ``NO_CLASS`` where fewer
        classes have a vote.
    """
    top = min(top, num_classes)
    if not len(queries):
        return {size: torch.empty(0, top, dtype=torch.long, device=queries.device) for size in k}
    cosines, neighbours = nearest(bank, queries, max(k), chunk, bank_chunk)
    votes, classes = (cosines / temperature).exp(), bank_labels.to(queries.device)[neighbours]
    ranking: dict[int, list[Tensor]] = {size: [] for size in k}
    for some, theirs in zip(votes.split(chunk), classes.split(chunk)):
        for size in k:
            scores = some.new_zeros(len(some), num_classes).scatter_add_(1, theirs[:, :size], some[:, :size])
            best = scores.topk(top)
            ranking[size].append(best.indices.where(best.values > 0, NO_CLASS))
    return {size: torch.cat(parts) for size, parts in ranking.items()}


@METRICS.register_module()
class KNNMetric:
    """Accuracy of weighted k-NN in percent: ``knn{k}_top1``, and ``knn{k}_top5`` for 5 or more neighbours and classes.

    Args:
        k: Numbers of neighbours, or a single one.
        temperature: Of the votes.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors.

    Raises:
        InputError: When called: the bank has fewer images than a number of neighbours.
    """

    def __init__(self, k: PositiveInt | Annotated[Sequence[PositiveInt], NonEmpty] = (10, 20), temperature: Positive = 0.07,
                 extractor: Mapping | Extractor | None = None):
        self.k = (k, ) if isinstance(k, int) else tuple(k)
        self.temperature = temperature
        self.extractor = Extractor.of(extractor)

    @property
    def names(self) -> list[str]:
        """Of the metrics, with five classes or more."""
        return [f'knn{k}_top{top}' for k in self.k for top in (1, 5) if top <= k]

    def check_bank(self, size: int) -> None:
        """Raise an InputError where so many images have fewer neighbours than are asked for."""
        if max(self.k) > size:
            raise InputError(f'KNNMetric has k={max(self.k)}, but the bank has {size} images: lower its k, or take more images')

    def __call__(self, bank: Features, queries: Features) -> dict[str, float]:
        """All processes are given the same features; each classifies a share of the queries."""
        self.check_bank(len(bank))
        rank, processes = get_dist_info()
        mine, device, num_classes = slice(rank, None, processes), get_device(), len(bank.classes)
        ranking = knn_classify(bank.values, bank.labels, queries.values[mine].to(device), num_classes, self.k, self.temperature)
        labels = queries.labels[mine, None].to(device)
        metrics = {}
        for k, classes in ranking.items():
            hits = classes == labels
            for top in (1, 5) if min(k, num_classes) >= 5 else (1, ):
                correct = hits[:, :top].sum()
                all_reduce(correct)
                metrics[f'knn{k}_top{top}'] = 100 * correct.item() / len(queries)
        return metrics
