"""Semantic correspondence: is the patch of a target image that is most like a keypoint of a source the same part of the object?

El Banani et al., "Probing the 3D Awareness of Visual Foundation Models", CVPR 2024, and SPair-71k's own PCK.
"""
from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdssl.arguments import Positive, PositiveInt
from mmdssl.datasets.spair import Pair
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor, read
from mmdssl.protocols.frozen import FrozenBackbone, SampleMetric
from mmdssl.protocols.propagation import PRECISIONS
from mmdssl.registry import METRICS, MODELS

SHUFFLE = 20  # the seed by which probe3d chooses pairs


@dataclass(frozen=True)
class Errors:
    """How far off the matches of a pair's keypoints are, over the longer side of the target's box; one number for each keypoint.

    Attributes:
        viewpoint: How much the viewpoints of the pair differ: 0, 1 or 2.
        probe3d: ``(k, )``, by the rule of probe3d.
        exact: ``(k, )``, by the exact one, see :func:`match_errors`.
    """
    viewpoint: int
    probe3d: np.ndarray
    exact: np.ndarray


@MODELS.register_module()
class Correspondence(FrozenBackbone):
    """:class:`Errors` of the pairs of a class of :class:`mmdssl.datasets.SPair`.

    Features of an image are computed once, however many pairs it is in.

    Args:
        backbone: Config of the network.
        extractor: What is read of it, the arguments of :class:`mmdssl.protocols.features.Extractor`; the patches of the last block by
            default.
        images_per_forward: Images that the backbone is given at a time.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.

    Raises:
        InputError: The extractor does not read patches; or, when called, images are not whole patches.
    """

    def __init__(self, backbone: dict, extractor: dict | None = None, images_per_forward: PositiveInt = 4,
                 amp: Literal[tuple(PRECISIONS)] | None = None, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.extractor = Extractor.of(extractor or dict(read='patches'))
        if self.extractor.read != 'patches':
            raise InputError(f"correspondence is measured between patches, and the extractor reads '{self.extractor.read}': set its read "
                             "to 'patches'")
        self.images_per_forward = images_per_forward
        self.amp = amp

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        maps, size = self.features(sample['images']), sample['images'].shape[-1]
        return dict(name=sample['name'],
                    errors=[match_errors(maps[pair.source], maps[pair.target], pair, size) for pair in sample['pairs']])

    def features(self, images: Tensor) -> Tensor:
        """L2-normalised features ``(n, D, h, h)`` fp32 of square images ``(n, 3, S, S)`` uint8, on this model's device."""
        size, patch = images.shape[-1], getattr(self.backbone, 'patch_size', 1)
        if size % patch:
            raise InputError(f'images of {size} px are not whole patches of {patch} px: set test_dataloader.dataset.size to '
                             f'{-(-size // patch) * patch}')
        maps = []
        for some in images.split(self.images_per_forward):
            patches = read(self.backbone, some, self.extractor, self.data_preprocessor.normalise, self.amp)
            side = round(patches.shape[1]**0.5)
            maps.append(F.normalize(patches, dim=-1).transpose(1, 2).unflatten(2, (side, side)))
        return torch.cat(maps)


def match_errors(source: Tensor, target: Tensor, pair: Pair, size: int) -> Errors:
    """Errors of the nearest patches, by cosine, to the features of the source at its keypoints.

    The two rules differ in where keypoints and patches are. ``probe3d`` copies the published code: keypoints are cut to whole pixels of
    the resized images, the corners of the source are the centres of its first and last patches, and a patch of the target is at its upper
    left corner. ``exact`` has keypoints where they are, and patches at their centres.

    Args:
        source: L2-normalised features ``(D, h, h)`` of the padded source.
        target: Those of the target.
        pair: Its keypoints.
        size: Side of the resized images in pixels.
    """
    points = (pair.source_points, pair.source_side), (pair.target_points, pair.target_side)
    columns, share = target.shape[-1], pair.box_side / pair.target_side

    def errors(start: np.ndarray, end: np.ndarray, corners: bool, place: float) -> np.ndarray:
        """Of keypoints as shares of the padded squares, with each patch at a place of its own between 0 and 1."""
        at = torch.from_numpy(2 * start - 1).to(source)
        found = F.grid_sample(source[None], at[None, None], padding_mode='border', align_corners=corners)[0, :, 0]
        cells = (found.mT @ target.flatten(1)).argmax(1).cpu().numpy()
        matched = (np.stack([cells % columns, cells // columns], axis=-1) + place) / columns
        return np.linalg.norm(matched - end, axis=-1) / share
    whole, exact = [np.trunc(xy * size / side) / size for xy, side in points], [xy / side for xy, side in points]
    return Errors(pair.viewpoint, errors(*whole, True, 0.), errors(*exact, False, 0.5))


@METRICS.register_module()
class CorrespondenceMetric(SampleMetric):
    """Percentage of keypoints whose match is within a share of the longer side of the target's box, by both common rules.

    ``PCK_probe3d``: of at most so many pairs of each class, chosen as the published code does of the pairs in the order of their names
    (it takes them as the file system lists them), the share of all keypoints, and then the mean over classes; ``PCK_probe3d_view0``, ``1``
    and ``2`` the same of pairs whose viewpoints differ little, medium or much. ``PCK_image``: of all pairs, the mean over pairs of the
    share of a pair's keypoints; ``PCK_point``: the share of all keypoints.

    Args:
        alpha: The share of the box.
        pairs_per_class: For probe3d.
        prefix: MMEngine's.
    """

    def __init__(self, alpha: Positive = 0.1, pairs_per_class: PositiveInt = 200, prefix: str | None = None):
        super().__init__(prefix)
        self.alpha = alpha
        self.pairs_per_class = pairs_per_class

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        self.results += [sample['errors'] for sample in data_samples]

    def compute_metrics(self, results: list[list[Errors]]) -> dict[str, float]:
        pairs = [pair for of_class in results for pair in of_class]
        within = [pair.exact <= self.alpha for pair in pairs]
        return {**dict(self._probe3d(results)), 'PCK_image': 100 * float(np.mean([each.mean() for each in within])),
                'PCK_point': 100 * float(np.concatenate(within).mean())}

    def _probe3d(self, classes: list[list[Errors]]) -> Iterator[tuple[str, float]]:
        for viewpoint in (None, 0, 1, 2):
            recalls = []
            for of_class in classes:
                pairs = [pair for pair in of_class if viewpoint in (None, pair.viewpoint)]
                random.Random(SHUFFLE).shuffle(pairs)
                if pairs:
                    recalls.append((np.concatenate([pair.probe3d for pair in pairs[:self.pairs_per_class]]) < self.alpha).mean())
            if recalls:
                yield 'PCK_probe3d' if viewpoint is None else f'PCK_probe3d_view{viewpoint}', 100 * float(np.mean(recalls))
