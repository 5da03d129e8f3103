"""Whether clusters of frozen patches are parts of objects: many of them, or as many as there are classes.

Ziegler and Asano, "Self-Supervised Learning of Object Parts for Semantic Segmentation" (Leopart), CVPR 2022; Pariza et al., "Near, far:
Patch-ordering enhances vision foundation models' scene understanding" (NeCo), ICLR 2025.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor

from mmdssl.arguments import NonEmpty, NonNegativeInt, PositiveInt
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.kmeans import draw_sample, kmeans, nearest_centroids
from mmdssl.protocols.moments import Moments, Principal
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.protocols.segmentation_scores import confusion, match_by_precision, match_one_to_one, matched_iou, shrink
from mmdssl.registry import METRICS


@METRICS.register_module()
class OverclusteringMetric:
    """``mIoU_k{K}`` in percent, of clusters of all queries' patches that are taken for classes; the mean over the seeds.

    Features are standardised over all patches and brought to their first principal components; k-means
    (:func:`mmdssl.protocols.kmeans.kmeans`) sees a sample of 256 patches per cluster. Maps of clusters and masks are brought to one size
    by nearest neighbour, and pixels that are not counted are dropped. Up to as many clusters as there are classes are matched one to
    one, so that the sum of IoU is the largest; of more, each is taken for the class with most of its pixels. Classes that do not occur
    do not count, but for those of ``void_classes``. The bank is not used.

    Args:
        clusters: Numbers of clusters; ``'classes'`` for that of the classes.
        seeds: Of the draws, one run each.
        components: Principal ones.
        size: Height and width at which is measured.
        iterations: Of k-means.
        restarts: Of k-means, of which the tightest clusters are taken.
        void_classes: Classes beyond those of the data that never occur and count 0 in the mean, and one more cluster each of
            ``'classes'``: NeCo's code has 151 classes on ADE20K.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; patches.

    Raises:
        InputError: When called: there are fewer patches than clusters, or no pixel has a class.
    """

    uses_bank = False

    def __init__(self, clusters: Annotated[Sequence[PositiveInt | Literal['classes']], NonEmpty] = (500, 300, 'classes'),
                 seeds: Annotated[Sequence[int], NonEmpty] = (0, 1, 2, 3, 4), components: PositiveInt = 50, size: PositiveInt = 100,
                 iterations: PositiveInt = 100, restarts: PositiveInt = 5, void_classes: NonNegativeInt = 0,
                 extractor: Mapping | Extractor | None = None):
        self.clusters = tuple(clusters)
        self.seeds = tuple(seeds)
        self.components = components
        self.size = size
        self.iterations = iterations
        self.restarts = restarts
        self.void_classes = void_classes
        self.setting = dict(mask=size, components=components, seeds=len(self.seeds), restarts=restarts)
        self.extractor = Extractor.of(extractor or dict(read='patches'))

    def __call__(self, bank: PatchFeatures | None, queries: PatchFeatures) -> dict[str, float]:
        """Every process has a share of the patches, and runs a share of the restarts."""
        num_classes, metrics = len(queries.classes), {}
        all_classes = num_classes + self.void_classes
        shares = _Shares(queries, self.components, self.size)
        for k in dict.fromkeys(all_classes if k == 'classes' else k for k in self.clusters):
            if shares.total < k:
                raise InputError(f'{k} clusters cannot be made of the {shares.total} patches of {queries.dataset.data_root}: lower '
                                 'clusters of OverclusteringMetric, or take more images')
            match = match_by_precision if k > all_classes else match_one_to_one
            found = []
            for seed in self.seeds:
                counts = shares.confusion(self._centroids(shares, k, seed), num_classes).cpu().numpy()
                if not counts.any():
                    raise InputError(f"no pixel of the masks of '{queries.dataset.data_root}' has a class: check its masks, classes and "
                                     'ignore')
                found.append(matched_iou(counts, match(counts), self.void_classes))
            metrics[f'mIoU_k{k}'] = float(np.mean(found))
        return metrics

    def _centroids(self, shares: _Shares, k: int, seed: int) -> Tensor:
        """Those of the best restart, on every process."""
        points = shares.gather(draw_sample(shares.total, k, seed))
        rank, processes = get_dist_info()
        centroids = points.new_zeros(self.restarts, k, points.shape[1])
        inertias = torch.zeros(self.restarts, dtype=torch.float64, device=points.device)
        for restart in range(rank, self.restarts, processes):
            centroids[restart], inertias[restart] = kmeans(points, k, self.iterations, seed * self.restarts + restart)
        all_reduce(centroids)
        all_reduce(inertias)
        return centroids[inertias.argmin()]


class _Shares:
    """This process's share of all patches, in few dimensions, and of masks.

    Attributes:
        total: Patches on all processes.
    """

    def __init__(self, batches: PatchFeatures, components: int, size: int):
        moments = Moments(device=batches.device)
        for batch in batches:
            moments.add(batch.values.flatten(0, 1))
        self.total = int(moments.reduce().count)
        if not self.total:
            batches.warn_of_unreadable()
        principal = Principal.of(moments, components)
        self.points = torch.zeros(0, len(principal.directions), device=batches.device)
        self.size, self.grid = size, (1, 1)
        mine, masks, points = [torch.zeros(0, dtype=torch.long, device=batches.device)], [], [self.points]
        for batch in batches:
            self.grid = batch.grid
            mine.append(batch.index)
            points.append(principal(batch.values).flatten(0, 1))
            masks.append(shrink(batch.masks, size))
        self.points, self.masks, mine = torch.cat(points), masks, torch.cat(mine)
        known = torch.zeros(len(batches), dtype=torch.long, device=batches.device)
        known[mine] = 1
        all_reduce(known)
        patches = torch.arange(self.grid[0] * self.grid[1], device=batches.device)
        self.numbers = ((known.cumsum(0) - 1)[mine, None] * len(patches) + patches).flatten()  # of the points, among all

    def gather(self, numbers: Tensor) -> Tensor:
        """Some points of all processes, on every process."""
        found = torch.full((self.total, ), -1, device=self.points.device)
        found[self.numbers] = torch.arange(len(self.numbers), device=self.points.device)
        rows = found[numbers.to(found.device)]
        points = self.points.new_zeros(len(rows), self.points.shape[1])
        points[rows >= 0] = self.points[rows[rows >= 0]]
        all_reduce(points)
        return points

    def confusion(self, centroids: Tensor, num_classes: int) -> Tensor:
        """Pixels of each class in each cluster, of all processes."""
        counts = torch.zeros(len(centroids), num_classes, dtype=torch.long, device=centroids.device)
        maps = nearest_centroids(self.points, centroids)[0].view(-1, *self.grid)
        for masks in self.masks:
            some, maps = maps[:len(masks)], maps[len(masks):]
            counts += confusion(shrink(some.float(), self.size), masks, *counts.shape)
        all_reduce(counts)
        return counts
