"""Masks of the parts of people, compared with the true ones."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.vip import VIP_PARTS, VOID
from mmdssl.errors import InputError
from mmdssl.registry import METRICS


@METRICS.register_module()
class VIPMetric(BaseMetric):
    """``mIoU`` and accuracy of the pixels of all frames of all videos, in percent, and ``seconds_per_frame``.

    There is one confusion matrix, whose pixels are those of the true masks in their own size; see :func:`mean_iou`. The first frame
    counts too, as Jabri et al. (NeurIPS 2020) have it, so that ``model.keep_first=False`` is to be set.

    Args:
        prefix: MMEngine's.
    """
    default_prefix = ''  # None would warn

    def __init__(self, prefix: str | None = None):
        super().__init__(collect_device='gpu', prefix=prefix)  # which means by the process group, not by files

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for video, prediction in zip(data_batch, data_samples):
            matrices = {name: sum(confusion(mask, read_mask(path), path) for mask, path in zip(masks, video['mask_paths']))
                        for name, masks in prediction['masks'].items()}
            self.results.append((matrices, prediction['seconds'], len(video['mask_paths'])))

    def compute_metrics(self, results: list) -> dict[str, float]:
        matrices, seconds, frames = zip(*results)
        metrics = {}
        for name in matrices[0]:
            prefix = f'{name}/' if name else ''
            matrix = sum(of_video[name] for of_video in matrices)
            metrics.update({f'{prefix}mIoU': mean_iou(matrix), f'{prefix}accuracy': float(100 * matrix.trace() / matrix.sum())})
        return {**metrics, 'seconds_per_frame': sum(seconds) / sum(frames)}


def confusion(predicted: np.ndarray, truth: np.ndarray, path: str, classes: int = len(VIP_PARTS)) -> np.ndarray:
    """Numbers ``(classes, classes)`` of pixels by true and predicted id; those whose truth is 255 do not count.

    Raises:
        InputError: The true mask, which is of ``path``, has another size or other ids.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"'{path}' has height and width {truth.shape}, the first mask of its video {predicted.shape}: all masks must "
                         'have one size')
    counted = truth != VOID
    predicted, truth = predicted[counted].astype(np.int64), truth[counted].astype(np.int64)
    if truth.max(initial=0) >= classes:
        raise InputError(f"'{path}' has the id {truth.max()}, but there are {classes} classes from 0, and {VOID} for what is not counted: "
                         'point data_root to masks of Category_ids')
    return np.bincount(classes * truth + predicted, minlength=classes**2).reshape(classes, classes)


def mean_iou(matrix: np.ndarray) -> float:
    """Percentage: intersection over union, the mean over the classes that are there, in truth or prediction."""
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return float(100 * (hits[union > 0] / union[union > 0]).mean())
