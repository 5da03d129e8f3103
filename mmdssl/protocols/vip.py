"""Masks of the parts of people, compared with the true ones."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.palette import VOID
from mmdssl.datasets.vip import VIP_PARTS
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.protocols.segmentation_scores import confusion, mean_iou, pixel_accuracy
from mmdssl.registry import METRICS


@METRICS.register_module()
class VIPMetric(SampleMetric):
    """``mIoU`` and accuracy of the pixels of all frames of all videos, in percent, and ``seconds_per_frame``.

    There is one confusion matrix, whose pixels are those of the true masks in their own size. The first frame counts too, as Jabri et al.
    (NeurIPS 2020) have it, so that ``model.keep_first=False`` is to be set.
    """

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for video, prediction in zip(data_batch, data_samples):
            matrices = {name: sum(confusion(torch.from_numpy(mask), read_parts(path, mask.shape), *[len(VIP_PARTS)] * 2)
                                  for mask, path in zip(masks, video['mask_paths']))
                        for name, masks in prediction['masks'].items()}
            self.results.append((matrices, prediction['seconds'], len(video['mask_paths'])))

    def compute_metrics(self, results: list) -> dict[str, float]:
        matrices, seconds, frames = zip(*results)
        metrics = {}
        for name in matrices[0]:
            prefix = f'{name}/' if name else ''
            matrix = sum(of_video[name] for of_video in matrices).numpy()
            metrics.update({f'{prefix}mIoU': mean_iou(matrix), f'{prefix}accuracy': pixel_accuracy(matrix)})
        return {**metrics, 'seconds_per_frame': sum(seconds) / sum(frames)}


def read_parts(path: str, size: tuple[int, int]) -> Tensor:
    """A true mask ``(H, W)`` uint8.

    Raises:
        InputError: It has another height and width, or other ids.
    """
    mask = read_mask(path)
    if mask.shape != size:
        raise InputError(f"'{path}' has height and width {mask.shape}, the first mask of its video {size}: all masks must have one size")
    worst = mask[mask != VOID].max(initial=0)
    if worst >= len(VIP_PARTS):
        raise InputError(f"'{path}' has the id {worst}, but there are {len(VIP_PARTS)} classes from 0, and {VOID} for what is not counted: "
                         'point data_root to masks of Category_ids')
    return torch.from_numpy(mask)
