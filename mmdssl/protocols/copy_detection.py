"""Detection of copies: the original of a copied image among many others.

Douze et al., "Evaluation of GIST Descriptors for Web-Scale Image Search", CIVR 2009 (Copydays); Berman et al., "MultiGrain: a Unified Image
Embedding for Classes and Instances", 2019, whose scores and whitening DINO takes.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.linalg import eigh

from mmdssl.arguments import PositiveInt
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.protocols.retrieval import average_precision, collect_descriptors, rank_database
from mmdssl.registry import METRICS

SMALLEST = 1e-5  # eigenvalue, as a share of the largest


class Whitening(NamedTuple):
    """A map that makes directions in which descriptors differ much count no more than others.

    Attributes:
        mean: ``(D,)``, subtracted.
        projection: ``(D, D)``, applied after that.
    """
    mean: Tensor
    projection: Tensor

    @classmethod
    def of(cls, descriptors: Tensor) -> Whitening:
        """That of descriptors ``(n, D)``: by the eigenvectors of their second moment, which is not centred, over the root of its
        eigenvalues, small ones raised to 1e-5 of the largest."""
        values = descriptors.double()
        moments, directions = eigh(values.T @ values / len(values))
        scale = moments.clamp(min=SMALLEST * moments.max().item()).rsqrt()
        return cls(values.mean(0), directions * scale)

    def __call__(self, descriptors: Tensor) -> Tensor:
        """Whitened descriptors ``(n, D)`` fp32."""
        return ((descriptors.double() - self.mean) @ self.projection).float()


def copy_precision(queries: Tensor, query_blocks: Sequence[str], database: Tensor, blocks: Sequence[str | None], top: int = 20) -> float:
    """Mean average precision, a share of 1, of the first so many of the database.

    Args:
        queries: Descriptors ``(m, D)``.
        query_blocks: Of each, what it has in common with its originals; one at least has it in the database.
        database: Descriptors ``(n, D)``.
        blocks: The same of the database; None for distractors.
        top: What comes later counts as not found.
    """
    blocks = np.array([block or '' for block in blocks])
    precisions = []
    for ranking, block in zip(rank_database(queries, database, top), query_blocks):
        ranks = np.flatnonzero(blocks[ranking] == block)
        precisions.append(average_precision(ranks, int((blocks == block).sum())))
    return float(np.mean(precisions))


@METRICS.register_module()
class CopyDetectionMetric(SampleMetric):
    """``mAP`` in percent on :class:`mmdssl.datasets.Copydays`, with whitening where the data has images to learn it from.

    Args:
        top: See :func:`copy_precision`.
        prefix: MMEngine's.
    """

    def __init__(self, top: PositiveInt = 20, prefix: str | None = None):
        super().__init__(prefix)
        self.top = top

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        self.results.extend((sample['index'], sample['descriptor'].cpu()) for sample in data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        descriptors = collect_descriptors(results)
        roles, blocks = (np.array(self.dataset_meta[key]) for key in ('roles', 'blocks'))
        if 'whitening' in roles:
            descriptors = Whitening.of(descriptors[roles == 'whitening'])(descriptors)
        queries, database = roles == 'query', (roles == 'database') | (roles == 'distractor')
        theirs = [block if role == 'database' else None for role, block in zip(roles[database], blocks[database])]
        return dict(mAP=100 * copy_precision(descriptors[queries], blocks[queries], descriptors[database], theirs, self.top))
