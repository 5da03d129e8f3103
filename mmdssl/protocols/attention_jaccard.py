"""How well the attention of a head to an image is a mask of its objects.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, Fig. 4.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmdssl.arguments import Range
from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.saliency import attended
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import FrozenBackbone, cut_to_patches
from mmdssl.registry import METRICS, MODELS

BACKGROUND, VOID = 0, 255


def attention_masks(attention: Tensor, mass: float = 0.6) -> Tensor:
    """Of each head the fewest tokens that together have a share of its attention.

    Args:
        attention: ``(heads, h, w)``, to the patches.
        mass: The share.

    Returns:
        ``(heads, h, w)`` bool.
    """
    return attended(attention[:, None], mass)  # which averages over the heads of an image: a single one here


def best_jaccards(masks: np.ndarray, ids: np.ndarray) -> tuple[float, float] | None:
    """Intersection over union with the masks, of each object with the best one, in two ways.

    Args:
        masks: ``(heads, H, W)`` bool.
        ids: ``(H, W)``, the numbers of objects; 0 is the background, and 255 is left out.

    Returns:
        The mean over the objects, and that of all objects taken as one; shares of 1. None of an image without objects.
    """
    counted = ids != VOID
    masks, ids = masks[:, counted], ids[counted]
    objects = [ids == number for number in np.unique(ids) if number != BACKGROUND]
    if not objects:
        return None

    def best(wanted: np.ndarray) -> float:
        return float(((masks & wanted).sum(1) / (masks | wanted).sum(1)).max())
    return float(np.mean([best(wanted) for wanted in objects])), best(ids != BACKGROUND)


@MODELS.register_module()
class AttentionMasks(FrozenBackbone):
    """Masks ``(heads, H, W)`` bool by the attention of the class token in the last block, of ``image`` ``(3, H, W)`` uint8.

    Pixels at the right and at the bottom that fill no patch are in no mask.

    Args:
        backbone: Config of a network with ``attention_maps(images)``.
        mass: See :func:`attention_masks`.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.

    Raises:
        InputError: The backbone has no attention of a class token.
    """

    def __init__(self, backbone: dict, mass: Annotated[float, Range('above 0 and below 1', lambda share: 0 < share < 1)] = 0.6,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        if not hasattr(self.backbone, 'attention_maps'):
            raise InputError(f'{type(self.backbone).__name__} has no attention_maps(images), the attention of a class token by head: use a '
                             'VisionTransformer')
        self.mass = mass

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        image = self.data_preprocessor.normalise(sample['image'])[None]
        whole = cut_to_patches(image, self.backbone)
        masks = attention_masks(self.backbone.attention_maps(whole)[0].float(), self.mass)
        masks = F.interpolate(masks[None].float(), whole.shape[-2:], mode='nearest')[0] > 0
        (height, width), (rows, columns) = image.shape[-2:], whole.shape[-2:]
        return dict(mask_path=sample['mask_path'], masks=F.pad(masks, (0, width - columns, 0, height - rows)))


@METRICS.register_module()
class AttentionJaccardMetric(BaseMetric):
    """``jaccard``, the mean over images of that over their objects, and ``jaccard_foreground``, of all objects as one; in percent.

    Each object has the head whose mask fits it best (:func:`best_jaccards`); masks are brought to the size of the annotation by nearest
    neighbour. Images without objects do not count.

    Args:
        prefix: MMEngine's.
    """
    default_prefix = ''  # None would warn

    def __init__(self, prefix: str | None = None):
        super().__init__(collect_device='gpu', prefix=prefix)  # which means by the process group, not by files

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            ids = read_mask(sample['mask_path'])
            masks = F.interpolate(sample['masks'][None].float(), ids.shape, mode='nearest-exact')[0] > 0
            self.results.append(best_jaccards(masks.cpu().numpy(), ids))

    def compute_metrics(self, results: list) -> dict[str, float]:
        found = [result for result in results if result is not None]
        if not found:
            raise InputError('no image has an object in its mask: there is nothing to measure')
        objects, foreground = 100 * np.mean(found, axis=0)
        return dict(jaccard=float(objects), jaccard_foreground=float(foreground))
