"""Depth from the patches of a frozen backbone: a linear classifier over bins of depth.

The recipe of DINOv3 (Siméoni et al., 2025), whose bins and loss are those of AdaBins (Bhat et al., CVPR 2021) and Eigen et al. (2014).
"""
from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdssl.arguments import NonNegative, NonNegativeInt, Positive, PositiveInt, Share
from mmdssl.datasets.nyu import scaled_box
from mmdssl.datasets.preprocessor import ViewsPreprocessor
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.registry import METRICS, MODELS

EIGEN = (41, 45, 601, 471)  # left, top, right and bottom of what is scored of 480 x 640 pixels
SHIFT = 0.001  # metres, before the logarithm
FLOOR = 0.1  # added to all weights of bins, so that their sum is not 0
LEAST = 1e-12


def depth_of_bins(scores: Tensor, bins: Tensor) -> Tensor:
    """The mean depth ``(B, h, w)`` of bins ``(K, )`` with weights ``relu(scores) + 0.1``, scores ``(B, K, h, w)``."""
    weights = scores.relu() + FLOOR
    return torch.einsum('bkhw,k->bhw', weights / weights.sum(1, keepdim=True), bins)


def sig_loss(predicted: Tensor, depth: Tensor, variance: bool = True, mean_weight: float = 0.15) -> Tensor:
    """The scale-invariant error of logarithms: ``sqrt(var(g) + 0.15 mean(g)^2)``, ``g = log(predicted + 0.001) - log(depth + 0.001)``.

    Args:
        predicted: ``(n, )`` in metres.
        depth: ``(n, )``, the truth; 0 where there are no pixels.
        variance: Include the variance, that of a sample.
        mean_weight: Of the square of the mean.
    """
    if not len(depth):
        return predicted.sum()
    error = (predicted + SHIFT).log() - (depth + SHIFT).log()
    total = mean_weight * error.mean().square()
    if variance and len(error) > 1:
        total = total + error.var()
    return total.clamp(min=LEAST).sqrt()  # whose gradient at 0 is infinite


@MODELS.register_module()
class DepthPreprocessor(ViewsPreprocessor):
    """Moves images and depths to the device, and normalises the images there; arguments as :class:`mmdssl.datasets.ViewsPreprocessor`."""

    def forward(self, batch: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        return dict(images=self.normalise(batch['image']), depths=batch['depth'].to(self.mean.device, non_blocking=True))


@MODELS.register_module()
class DepthProbe(Algorithm):
    """A frozen backbone, in eval mode, and dropout, batch normalisation and a 1x1 convolution of its patches to bins of depth.

    Batches are those of :class:`mmdssl.datasets.NYUDepth`. Depth is predicted by patch and upsampled (bilinear). With several processes
    set ``sync_bn='torch'``.

    Args:
        backbone: Config of the backbone; ``init_cfg`` loads its weights.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; the patches of the last
            block with the final norm by default.
        num_bins: Number of bins, evenly from ``min_depth`` to ``max_depth``.
        min_depth: In metres.
        max_depth: In metres; what is deeper is not counted.
        dropout: Share of the channels that are dropped.
        std: Of the initial weights, normal; biases start at 0.
        warmup: The first so many iterations have no variance in their loss.
        images_per_loss: The loss is that of the pixels of so many images, and averaged over the batch: it does not depend on how the
            batch is spread over processes.
        flip: In tests, the mean of the predictions of an image and of its mirror image.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.

    Raises:
        InputError: The extractor reads what the backbone has not, or no patches.
    """

    def __init__(self, backbone: dict, extractor: dict | None = None, num_bins: PositiveInt = 256, min_depth: Positive = 0.001,
                 max_depth: Positive = 10., dropout: Share = 0.1, std: NonNegative = 0.01, warmup: NonNegativeInt = 100,
                 images_per_loss: PositiveInt = 2, flip: bool = True, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.DepthPreprocessor'), init_cfg)
        self.extractor = Extractor.of(extractor or dict(read='patches'))
        self.backbone = MODELS.build(backbone).requires_grad_(False).eval()
        width = patch_width(self.backbone, self.extractor)
        self.head = nn.Sequential(nn.Dropout2d(dropout), nn.BatchNorm2d(width), nn.Conv2d(width, num_bins, 1))
        nn.init.normal_(self.head[-1].weight, std=std)
        nn.init.zeros_(self.head[-1].bias)
        self.register_buffer('bins', torch.linspace(min_depth, max_depth, num_bins), persistent=False)
        self.max_depth = max_depth
        self.warmup = warmup
        self.images_per_loss = images_per_loss
        self.flip = flip

    def train(self, mode: bool = True) -> DepthProbe:
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor, depths: Tensor, mode: str = 'loss') -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """The loss of a batch, or, with ``mode='predict'``, ``predicted`` and true ``depth`` ``(H, W)`` of each image."""
        if mode == 'loss':
            return self.loss(images, depths)
        predicted = self.predict(images)
        if self.flip:
            predicted = (predicted + self.predict(images.flip(-1)).flip(-1)) / 2
        if predicted.shape != depths.shape:
            predicted = F.interpolate(predicted[:, None], depths.shape[-2:], mode='bilinear', align_corners=False)[:, 0]
        return [dict(predicted=one, depth=truth) for one, truth in zip(predicted, depths)]

    def loss(self, images: Tensor, depths: Tensor) -> dict[str, Tensor]:
        """``loss_depth`` of images and their depths ``(B, H, W)``."""
        predicted, losses = self.predict(images), []
        groups = -(-len(images) // self.images_per_loss)
        for i in range(groups):  # in the way in which samplers deal images out to processes
            some, truth = predicted[i::groups], depths[i::groups]
            counted = (truth > 0) & (truth <= self.max_depth)
            losses.append(sig_loss(some[counted], truth[counted], self.progress.iteration >= self.warmup))
        return dict(loss_depth=torch.stack(losses).mean())

    def predict(self, images: Tensor) -> Tensor:
        """Depth ``(B, H, W)`` in metres of normalised images."""
        with torch.no_grad():
            patches = self.extractor(self.backbone, images).float()
        height, width = images.shape[-2:]
        rows, columns = grid_of(self.backbone, images, patches.shape[1])
        with torch.autocast(patches.device.type, enabled=False):
            depth = depth_of_bins(self.head(patches.transpose(1, 2).unflatten(2, (rows, columns))), self.bins)
        sides = rows * -(-height // rows), columns * -(-width // columns)  # with what fills up the last patches
        return F.interpolate(depth[:, None], sides, mode='bilinear', align_corners=False)[:, 0, :height, :width]


def patch_width(backbone: nn.Module, extractor: Extractor, size: int = 224) -> int:
    """Width of the patches that an extractor reads, by a copy of the backbone without data.

    Raises:
        InputError: It reads no patches, or what the backbone has not.
    """
    if extractor.read != 'patches':
        raise InputError(f"depth is predicted for each patch, and the extractor reads '{extractor.read}': set its read to 'patches'")
    return extractor(copy.deepcopy(backbone).to('meta'), torch.empty(1, 3, size, size, device='meta')).shape[-1]


def grid_of(backbone: nn.Module, images: Tensor, number: int) -> tuple[int, int]:
    """Rows and columns of so many patches of images ``(..., H, W)``."""
    if hasattr(backbone, 'grid_of'):
        return backbone.grid_of(images)
    height, width = images.shape[-2:]
    rows = round((number * height / width)**0.5)
    return rows, number // rows


@METRICS.register_module()
class DepthMetric(SampleMetric):
    """``rmse`` in metres, ``abs_rel`` and, in percent, ``delta1``: of each image, and then the mean over images, as DINOv3 has them.

    ``rmse_pooled`` is that of all pixels of all images together, which other suites report and which is higher. Predictions are clamped to
    the range of depths; pixels outside of it, or not measured, do not count.

    Args:
        min_depth: In metres.
        max_depth: In metres.
        crop: ``'eigen'``: only the pixels in Eigen et al.'s crop of 480 x 640 count, or in the same part of other sizes; None: all.
        prefix: MMEngine's.
    """

    def __init__(self, min_depth: Positive = 0.001, max_depth: Positive = 10., crop: Literal['eigen'] | None = 'eigen',
                 prefix: str | None = None):
        super().__init__(prefix)
        self.range = min_depth, max_depth
        self.crop = crop

    def process(self, data_batch: Mapping, data_samples: Sequence[dict]) -> None:
        self.results += [self.errors(sample['predicted'], sample['depth']) for sample in data_samples]

    def errors(self, predicted: Tensor, depth: Tensor) -> list[float]:
        """Of an image: the pixels that count, and over them the sums of squared and of relative errors and of those within 25 %."""
        rows, columns = scaled_box(EIGEN, *depth.shape) if self.crop else (slice(None), slice(None))
        predicted, depth = predicted[rows, columns].double(), depth[rows, columns].double()
        counted = (depth > self.range[0]) & (depth < self.range[1])
        predicted, depth = predicted[counted].clamp(*self.range), depth[counted]
        error, ratio = predicted - depth, torch.maximum(predicted / depth, depth / predicted)
        return [len(depth), *torch.stack([error.square().sum(), (error.abs() / depth).sum(), (ratio < 1.25).sum()]).tolist()]

    def compute_metrics(self, results: list[list[float]]) -> dict[str, float]:
        sums = torch.tensor([result for result in results if result[0]], dtype=torch.float64)
        if not len(sums):
            raise InputError('no image has a depth that counts: check the unit of the depths, and the crop of test_evaluator')
        number, squares, relative, close = sums.unbind(1)
        return dict(rmse=float((squares / number).sqrt().mean()), abs_rel=float((relative / number).mean()),
                    delta1=100 * float((close / number).mean()), rmse_pooled=float((squares.sum() / number.sum()).sqrt()))
