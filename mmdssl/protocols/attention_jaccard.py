"""How well the attention of a head to an image is a mask of its objects.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, Fig. 4.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from mmdssl.arguments import Range
from mmdssl.datasets.davis import read_mask
from mmdssl.datasets.palette import VOID
from mmdssl.datasets.saliency import attended
from mmdssl.errors import InputError
from mmdssl.models.backbones import PositionFree
from mmdssl.protocols.frozen import FrozenBackbone, SampleMetric, cut_to_patches
from mmdssl.registry import METRICS, MODELS

BACKGROUND = 0
# NeCo's (Pariza et al., ICLR 2025): a Gaussian of this deviation, cut off after so many cells, and pieces that are too small to stay.
BLUR, RADIUS, SPECKS = 0.6, 3, 2


def need_attention(backbone: nn.Module) -> None:
    """Raise an InputError unless a backbone has attention of a class token of its own."""
    if not hasattr(backbone, 'attention_maps'):
        raise InputError(f'{type(backbone).__name__} has no attention_maps(images), the attention of a class token by head: use a '
                         'VisionTransformer')
    if isinstance(backbone, PositionFree):
        raise InputError(f'the position has been taken out of {backbone.subject}, and what is read is the attention of the class token, '
                         'which is that of the plain backbone: measure the checkpoint that it was made of')


def attention_masks(attention: Tensor, mass: float = 0.6) -> Tensor:
    """Of each head the fewest tokens that together have a share of its attention.

    Args:
        attention: ``(heads, h, w)``, to the patches.
        mass: The share.

    Returns:
        ``(heads, h, w)`` bool.
    """
    return attended(attention[:, None], mass)  # which averages over the heads of an image: a single one here


def merged_mask(attention: Tensor, mass: float = 0.6) -> Tensor:
    """NeCo's mask of all heads: their mean, blurred, the fewest tokens that together have a share of it, without pieces of 2 and less.

    Args:
        attention: ``(heads, h, w)``, to the patches.
        mass: The share.

    Returns:
        ``(h, w)`` bool, on the CPU.
    """
    blurred = ndimage.gaussian_filter(attention.mean(0).cpu().numpy(), BLUR, mode='mirror', radius=RADIUS)
    mask = attended(torch.from_numpy(blurred)[None, None], mass)[0].numpy()
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    return torch.from_numpy(mask & (np.bincount(pieces.flat) > SPECKS)[pieces])


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


def neco_jaccards(masks: np.ndarray, merged: np.ndarray, ids: np.ndarray) -> tuple[float, float] | None:
    """Intersection over union by NeCo's two rules.

    Args:
        masks: ``(heads, H, W)`` bool.
        merged: ``(H, W)`` bool, of all heads.
        ids: ``(H, W)``, the numbers of classes; 0 is the background. What is 255, their edges, belongs to the foreground and to no class.

    Returns:
        That of the merged mask with the foreground; and the mean over the classes of that with the head that fits best. Shares of 1. None
        of an image without classes.
    """
    def jaccards(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return (found & wanted).sum((-2, -1)) / (found | wanted).sum((-2, -1))
    best = [jaccards(masks, ids == number).max() for number in np.unique(ids) if number not in (BACKGROUND, VOID)]
    return (float(jaccards(merged, ids != BACKGROUND)), float(np.mean(best))) if best else None


@MODELS.register_module()
class AttentionMasks(FrozenBackbone):
    """Masks ``(heads, H, W)`` bool by the attention of the class token in the last block, of ``image`` ``(3, H, W)`` uint8, and one of
    all heads, ``merged`` ``(H, W)`` (:func:`merged_mask`).

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
        need_attention(self.backbone)
        self.mass = mass

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        image = self.data_preprocessor.normalise(sample['image'])[None]
        whole = cut_to_patches(image, self.backbone)
        attention = self.backbone.attention_maps(whole)[0].float()
        masks = attention_masks(attention, self.mass)
        masks = torch.cat([masks, merged_mask(attention, self.mass)[None].to(masks.device)])
        masks = F.interpolate(masks[None].float(), whole.shape[-2:], mode='nearest')[0] > 0
        (height, width), (rows, columns) = image.shape[-2:], whole.shape[-2:]
        masks = F.pad(masks, (0, width - columns, 0, height - rows))
        return dict(mask_path=sample['mask_path'], masks=masks[:-1], merged=masks[-1])


@METRICS.register_module()
class AttentionJaccardMetric(SampleMetric):
    """``jaccard``, the mean over images of that over their objects, and ``jaccard_foreground``, of all objects as one; in percent.

    Each object has the head whose mask fits it best (:func:`best_jaccards`); masks are brought to the size of the annotation by nearest
    neighbour. Images without objects do not count.
    """

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            ids = read_mask(sample['mask_path'])
            masks = F.interpolate(sample['masks'][None].float(), ids.shape, mode='nearest-exact')[0] > 0
            self.results.append(best_jaccards(masks.cpu().numpy(), ids))

    def compute_metrics(self, results: list) -> dict[str, float]:
        objects, foreground = _mean(results)
        return dict(jaccard=objects, jaccard_foreground=foreground)


@METRICS.register_module()
class NeCoAttentionJaccardMetric(SampleMetric):
    """``jaccard_merged``, of all heads as one mask with the foreground, and ``jaccard_best_head``, the mean over images of that over
    their classes, each with the head that fits it best; in percent.

    By NeCo's rules (:func:`neco_jaccards`; its code also drops the last class of an image in which nothing is 255, and the last batch):
    annotations of classes (``annotation='SegmentationClass'`` of the data) are brought to the size of the image that the network sees, and
    edges that VOC leaves open count as foreground of the first and against the second.
    Images without a class do not count.
    """

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            masks, merged = (sample[key].cpu().numpy() for key in ('masks', 'merged'))
            ids = Image.fromarray(read_mask(sample['mask_path'])).resize(merged.shape[::-1], Image.Resampling.NEAREST)
            self.results.append(neco_jaccards(masks, merged, np.array(ids)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        merged, best = _mean(results)
        return dict(jaccard_merged=merged, jaccard_best_head=best)


def _mean(results: list[tuple[float, float] | None]) -> list[float]:
    """Means over the images that have objects, in percent."""
    found = [result for result in results if result is not None]
    if not found:
        raise InputError('no image has an object in its mask: there is nothing to measure')
    return (100 * np.mean(found, axis=0)).tolist()
