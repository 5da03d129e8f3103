"""What TokenCut finds as a mask of what stands out in an image.

Wang et al., "Self-Supervised Transformers for Unsupervised Object Discovery using Normalized Cut", CVPR 2022, Sec. 4.2.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from mmdssl.arguments import Positive
from mmdssl.errors import InputError
from mmdssl.protocols.bilateral import bilateral_solve
from mmdssl.protocols.discovery import TokenCut
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.registry import METRICS, MODELS

NUM_THRESHOLDS = 255


def scores_by_threshold(saliency: np.ndarray, truth: np.ndarray, beta_squared: float = 0.3) -> np.ndarray:
    """F measures of the masks ``saliency > k / 255``, for k from 0 to 254.

    ``(1 + beta^2) P R / (beta^2 P + R)``; precision is 1 where nothing is predicted, recall is 1 where nothing is salient, and F is 0
    where both are 0.

    Args:
        saliency: ``(H, W)``, in [0, 1] or near it.
        truth: ``(H, W)`` bool.
        beta_squared: Weight of the precision.

    Returns:
        ``(255,)``, shares of 1.
    """
    # how many thresholds each pixel is above
    levels = np.searchsorted(np.arange(NUM_THRESHOLDS) / NUM_THRESHOLDS, saliency)
    counts = (np.bincount(chosen.ravel(), minlength=NUM_THRESHOLDS + 1) for chosen in (levels, levels[truth]))
    predicted, hits = (count[:0:-1].cumsum()[::-1] for count in counts)
    precision = np.where(predicted > 0, hits / np.maximum(predicted, 1), 1.)
    recall = hits / truth.sum() if truth.any() else np.ones(NUM_THRESHOLDS)
    below = beta_squared * precision + recall
    return np.where(below > 0, (1 + beta_squared) * precision * recall / np.where(below > 0, below, 1.), 0.)


@MODELS.register_module()
class TokenCutSaliency(TokenCut):
    """Three ``maps`` ``(H, W)`` fp64 of what is salient in ``image`` ``(3, H, W)`` uint8, each under its name.

    ``''`` is the mask, 0 and 1, of the object that TokenCut finds; ``'eigenvector'`` what that is cut from, stretched to [0, 1] and
    highest at the object; ``'bilateral'`` the mask after :func:`mmdssl.protocols.bilateral.bilateral_solve`.

    The image is resized (Lanczos) to the nearest multiple of the patch, not padded; what is found is brought to its own size by nearest
    neighbour. Arguments are those of TokenCut.
    """

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        height, width = sample['image'].shape[-2:]
        patch = self.backbone.patch_size
        rows, columns = (max(round(side / patch), 1) * patch for side in (height, width))
        image = to_pil_image(sample['image'].cpu())
        resized = pil_to_tensor(image.resize((columns, rows), Image.Resampling.LANCZOS))
        vector, mask = self.cut(self.data_preprocessor.normalise(resized)[None])
        vector = (vector - vector.min()) / (vector.max() - vector.min()).clamp(min=torch.finfo(vector.dtype).tiny)
        cells = torch.stack([mask.double(), vector])
        mask, vector = F.interpolate(cells[None], (height, width), mode='nearest')[0].numpy()
        return dict(maps={'': mask, 'eigenvector': vector, 'bilateral': bilateral_solve(np.array(image), mask)})


@METRICS.register_module()
class SaliencyMetric(SampleMetric):
    """``maxF``, ``IoU`` and ``accuracy`` of each predicted map, with its name behind: ``maxF_bilateral``; in percent.

    All are means over images. F (:func:`scores_by_threshold`) is that of the threshold with the highest mean; of a mask it is the same at
    every threshold. The other two are those of what is above 0.5.

    Args:
        beta_squared: Weight of the precision in F.
        prefix: MMEngine's.

    Raises:
        InputError: When computed: nothing is salient in any image; where only some have nothing, a warning says how many.
    """

    def __init__(self, beta_squared: Positive = 0.3, prefix: str | None = None):
        super().__init__(prefix)
        self.beta_squared = beta_squared

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sample, prediction in zip(data_batch, data_samples):
            truth = sample['mask'].cpu().numpy()
            scores = {name: self._scores(saliency, truth) for name, saliency in prediction['maps'].items()}
            self.results.append((bool(truth.any()), scores))

    def _scores(self, saliency: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float, float]:
        mask = saliency > 0.5
        union = (mask | truth).sum()
        return (scores_by_threshold(saliency, truth, self.beta_squared), (mask & truth).sum() / union if union else 1.,
                (mask == truth).mean())

    def compute_metrics(self, results: list) -> dict[str, float]:
        shown, scores = zip(*results)
        if not any(shown):
            raise InputError('no mask has a salient pixel: there is nothing to find, check that data_prefix has the folder of the masks')
        if not all(shown):
            print_log(f'{shown.count(False)} of the {len(shown)} masks have no salient pixel; their images count', 'current',
                      logging.WARNING)
        metrics = {}
        for name in scores[0]:
            curve, overlap, accuracy = (100 * np.mean(part, axis=0) for part in zip(*(score[name] for score in scores)))
            found = dict(maxF=curve.max(), IoU=overlap, accuracy=accuracy)
            metrics.update({f'{key}_{name}'.rstrip('_'): float(value) for key, value in found.items()})
        return metrics
