"""k-means by the rules of faiss, on the device of the points."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PER_CENTROID = 256  # points, of more a sample is taken
SPLIT = 1 / 1024  # how far the halves of a cluster are moved apart
CHUNK = 1 << 24  # distances at a time


class Clusters(NamedTuple):
    """Of :func:`kmeans`.

    Attributes:
        centroids: ``(k, D)``.
        inertia: Sum of the squared distances of points to the nearest centroid, of the last but one centroids.
    """
    centroids: Tensor
    inertia: float


def nearest_centroids(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Of each point ``(n, D)`` the number of the nearest centroid ``(k, D)``, ``(n,)``, and the squared distance."""
    lengths = centroids.square().sum(1)
    found = [torch.addmm(lengths, some, centroids.T, alpha=-2).min(1) for some in points.split(max(CHUNK // len(centroids), 1))]
    distances, numbers = (torch.cat(each) for each in zip(*found))
    return numbers, (distances + points.square().sum(1)).clamp(min=0)


def draw_sample(number: int, k: int, seed: int) -> Tensor:
    """Indices of the points that k-means looks at, sorted; the same for the same arguments."""
    if number <= PER_CENTROID * k:
        return torch.arange(number)
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed))[:PER_CENTROID * k].sort().values


def kmeans(points: Tensor, k: int, iterations: int = 100, seed: int = 0) -> Clusters:
    """Lloyd's algorithm from k points drawn at random.

    It stops before the last iteration where another one would change nothing. A cluster that has lost its points takes half of
    another one, which is drawn in proportion to its size (:func:`split_empty`).

    Args:
        points: ``(n, D)``, at least k.
        k: Number of clusters.
        iterations: At most.
        seed: Of all draws.
    """
    draw = torch.Generator().manual_seed(seed)
    centroids = points[torch.randperm(len(points), generator=draw)[:k].to(points.device)]
    before, inertia = None, float('inf')
    for _ in range(iterations):
        numbers, distances = nearest_centroids(points, centroids)
        sizes = numbers.bincount(minlength=k)
        if before is not None and torch.equal(numbers, before) and sizes.all():
            break
        before, inertia = numbers, distances.sum(dtype=torch.float64).item()
        sums = torch.zeros(k, points.shape[1], dtype=torch.float64, device=points.device).index_add_(0, numbers, points.double())
        centroids = (sums / sizes.clamp(min=1)[:, None]).to(points)
        if not sizes.all():
            split_empty(centroids, sizes, draw)
    return Clusters(centroids, inertia)


def split_empty(centroids: Tensor, sizes: Tensor, draw: torch.Generator) -> None:
    """Give clusters without points half of another cluster each, in place.

    The other one is drawn with a probability in proportion to its number of points less one; the two centroids are those of the other
    one times ``1 + 1 / 1024`` and ``1 - 1 / 1024``, with the signs in turn over the dimensions.

    Args:
        centroids: ``(k, D)``.
        sizes: Points of each, ``(k,)``, of which a split one passes on half.
        draw: For random numbers.
    """
    signs = torch.ones(centroids.shape[1], dtype=centroids.dtype, device=centroids.device)
    signs[1::2] = -1
    left = sizes.tolist()
    for empty in [number for number, size in enumerate(left) if not size]:
        chances = torch.tensor([max(size - 1, 0) for size in left], dtype=torch.float64)
        if not chances.any():
            return
        other = int(torch.multinomial(chances, 1, generator=draw))
        centroids[empty] = centroids[other] * (1 + SPLIT * signs)
        centroids[other] *= 1 - SPLIT * signs
        left[empty] = left[other] // 2
        left[other] -= left[empty]
    sizes.copy_(torch.tensor(left))
