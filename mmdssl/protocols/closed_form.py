"""Linear segmentation of frozen patches without an optimiser: least squares and linear discriminants."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor

from mmdssl.arguments import NonEmpty, Range
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.moments import Affine, Moments, lda, ridge
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.protocols.segmentation_scores import class_counts, confusion, mean_iou
from mmdssl.registry import METRICS

FITS = dict(ridge=ridge, lda=lda)
SHRINKAGES = tuple(10. ** exponent for exponent in range(-6, 1))
CHUNK = 1 << 26  # scores of pixels at a time

Shrinkage = Annotated[float, Range('above 0 and up to 1', lambda share: 0 < share <= 1)]


@METRICS.register_module()
class ClosedFormMetric:
    """``mIoU_ridge`` and ``mIoU_lda`` in percent, of linear models of patches that are computed and not trained.

    Ridge regression fits the share that each class has of the pixels of a patch; linear discriminant analysis takes each pixel for a
    sample with the features of its patch. Pixels that are not counted are no pixels. The scores of patches are interpolated bilinearly
    to the size of the masks, where each pixel is of the class with the highest one; there is one matrix of all pixels, and classes that
    are neither there nor predicted do not count.

    The shrinkage is chosen by the mean IoU on a share of the bank's images that is held out, where each patch is of one class; then
    all images are fitted. ``ridge_log10_shrinkage`` and ``lda_log10_shrinkage`` tell it.

    Args:
        models: Which ones.
        shrinkages: See :func:`mmdssl.protocols.moments.ridge` and :func:`mmdssl.protocols.moments.lda`.
        val: Share of images that are held out.
        seed: Of their draw.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; patches.

    Raises:
        InputError: When called: no pixel of the bank is left to fit or to choose by, or none of the queries.
    """

    def __init__(self, models: Annotated[Sequence[Literal[tuple(FITS)]], NonEmpty] = tuple(FITS),
                 shrinkages: Annotated[Sequence[Shrinkage], NonEmpty] = SHRINKAGES,
                 val: Annotated[float, Range('above 0 and below 1', lambda share: 0 < share < 1)] = 0.2, seed: int = 0,
                 extractor: Mapping | Extractor | None = None):
        self.models = tuple(models)
        self.shrinkages = tuple(shrinkages)
        self.val = val
        self.seed = seed
        self.extractor = Extractor.of(extractor, read='patches')

    def __call__(self, bank: PatchFeatures, queries: PatchFeatures) -> dict[str, float]:
        """Every process has a share of the patches."""
        held = self._held_out(bank)
        train, val = self._moments(bank, held)
        if not (train.count and val.count):
            bank.warn_of_unreadable()
            raise InputError(f"the bank '{bank.dataset.data_root}' has {len(bank)} images, and those to fit or those to choose by, a share "
                             f'of {self.val:g} of them, have no pixel that is counted: take more images')
        chosen = self._choose(bank, held, train)
        models = {name: FITS[name](train + val, shrinkage) for name, shrinkage in chosen.items()}
        counts = torch.zeros(len(models), *[len(bank.classes)] * 2, dtype=torch.long, device=bank.device)
        for batch in queries:
            for own, model in zip(counts, models.values()):
                for values, masks in zip(*_split(batch.values, batch.masks, len(bank.classes))):
                    own += confusion(segment(model, values, batch.grid, masks.shape[1:]), masks, *own.shape)
        all_reduce(counts)
        if not counts.any():
            queries.warn_of_unreadable()
            raise InputError(f"no pixel of the queries '{queries.dataset.data_root}' is counted: there is nothing to measure")
        return {**{f'mIoU_{name}': mean_iou(own) for name, own in zip(models, counts)},
                **{f'{name}_log10_shrinkage': math.log10(shrinkage) for name, shrinkage in chosen.items()}}

    def _held_out(self, bank: PatchFeatures) -> Tensor:
        """Which images ``(n,)`` of the bank are not fitted at first; all crops of an image are, or none."""
        names = sorted(set(bank.names))
        number = min(max(round(self.val * len(names)), 1), len(names) - 1)
        drawn = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.seed))[:number].tolist()
        chosen = {names[i] for i in drawn}
        return torch.tensor([name in chosen for name in bank.names], device=bank.device)

    @staticmethod
    def _moments(bank: PatchFeatures, held: Tensor) -> tuple[Moments, Moments]:
        """Of features and shares of classes: of the images that are fitted at first, and of the others."""
        parts = tuple(Moments(len(bank.classes), bank.device) for _ in range(2))
        for batch in bank:
            counts = class_counts(batch.masks, batch.grid, len(bank.classes)).float()
            pixels = counts.sum(-1)
            shares, weights = counts / pixels.clamp(min=1)[..., None], pixels / (batch.masks[0].numel() / len(batch.values[0]))
            for part, moments in zip((~held[batch.index], held[batch.index]), parts):
                moments.add(*(each[part].flatten(0, 1) for each in (batch.values, shares)), weights[part].flatten())
        return parts[0].reduce(), parts[1].reduce()

    def _choose(self, bank: PatchFeatures, held: Tensor, train: Moments) -> dict[str, float]:
        """The shrinkage of each model; the first of equal ones."""
        if len(self.shrinkages) == 1:
            return dict.fromkeys(self.models, self.shrinkages[0])
        candidates = [[FITS[name](train, shrinkage) for shrinkage in self.shrinkages] for name in self.models]
        number = len(bank.classes)
        found = torch.zeros(len(self.models), len(self.shrinkages), number, number, dtype=torch.float64, device=bank.device)
        for batch in bank:
            part = held[batch.index]
            counts = class_counts(batch.masks[part], batch.grid, number).flatten(0, 1).double()
            values = batch.values[part].flatten(0, 1).double()
            for row, models in zip(found, candidates):
                for own, model in zip(row, models):
                    own.index_add_(0, model(values).argmax(-1), counts)
        all_reduce(found)
        return {name: self.shrinkages[int(np.argmax([mean_iou(own) for own in row]))] for name, row in zip(self.models, found)}


def segment(model: Affine, values: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Classes ``(B, *size)`` of pixels, by scores of patches ``(B, N, D)`` that are interpolated bilinearly."""
    scores = model(values.double()).float().transpose(1, 2).unflatten(2, grid)
    return F.interpolate(scores, size, mode='bilinear').argmax(1)


def _split(values: Tensor, masks: Tensor, num_classes: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    number = max(CHUNK // (num_classes * masks[0].numel()), 1)
    return values.split(number), masks.split(number)
