"""Linear classifiers of the patches of a frozen backbone, by the recipes of Leopart and of DINOv3.

Ziegler and Asano, "Self-supervised learning of object parts for semantic segmentation", CVPR 2022, whose evaluation later tables share
(CrOC, TimeT, NeCo); Siméoni et al., "DINOv3", 2025. The same features score some points more or less by the one than by the other, by the
size of the masks alone: compare numbers of one recipe.
"""
from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdssl.arguments import NonNegativeInt, PositiveInt, Share
from mmdssl.datasets.palette import VOID
from mmdssl.datasets.preprocessor import ViewsPreprocessor
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.patches import square_grid
from mmdssl.protocols.segmentation_scores import class_iou, mean_iou, pixel_accuracy, shrink
from mmdssl.registry import METRICS, MODELS

if TYPE_CHECKING:
    from mmseg.structures import SegDataSample


@MODELS.register_module()
class MasksPreprocessor(ViewsPreprocessor):
    """Of images with masks, items of :class:`mmdssl.datasets.SegmentedImages`, normalised images and masks on the device."""

    def forward(self, batch: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        return dict(images=self.normalise(batch['image']), masks=batch['mask'].to(self.mean.device, non_blocking=True))


@MODELS.register_module()
class LinearSegmentation(Algorithm):
    """A frozen backbone, in eval mode, and a linear classifier of its patches, resized to masks of one size (Leopart).

    Trained on items of :class:`mmdssl.datasets.SegmentedImages`; :class:`mmdssl.engine.SegmentationLoop` evaluates it. Logits are resized
    to the masks bilinearly, which is the same as to resize the features first, as the authors do: both are linear. Masks are resized to
    the nearest pixel.

    Args:
        backbone: Config of the backbone; ``init_cfg`` loads its weights.
        num_classes: Classes.
        mask_size: Height and width of the masks in loss and scores.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; patches.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.

    Raises:
        InputError: The extractor reads no patches, or what the backbone has not; or when called: the images are not of whole patches.
    """

    def __init__(self, backbone: dict, num_classes: PositiveInt, mask_size: PositiveInt = 100, extractor: dict | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor or dict(type='mmdssl.MasksPreprocessor'), init_cfg)
        self.num_classes = num_classes
        self.mask_size = mask_size
        self.setting = dict(mask=mask_size)
        self.extractor = Extractor.of(dict(read='patches') if extractor is None else extractor)
        self.backbone = MODELS.build(backbone).requires_grad_(False).eval()
        self.linear = nn.Conv2d(self._width(), num_classes, 1)

    def _width(self) -> int:
        if self.extractor.read != 'patches':
            raise InputError(f"linear segmentation classifies patches, and the extractor reads '{self.extractor.read}': set read of "
                             "model.extractor to 'patches'")
        sketch = copy.deepcopy(self.backbone).to('meta')
        return self.extractor(sketch, torch.empty(1, 3, 224, 224, device='meta')).shape[-1]

    def train(self, mode: bool = True) -> LinearSegmentation:
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor, masks: Tensor, mode: str = 'loss') -> dict[str, Tensor]:
        if mode != 'loss':
            raise ValueError(f"this model only knows mode='loss', got {mode!r}; a SegmentationLoop evaluates it")
        return self.loss(images, masks)

    def loss(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """``loss_ce`` of the pixels that count, and ``accuracy``, the percentage of them that is right.

        Args:
            images: Normalised ``(B, 3, S, S)``.
            masks: ``(B, S, S)`` uint8, classes and 255.
        """
        with torch.no_grad():
            patches = self.extractor(self.backbone, images).float()
            grid = square_grid(self.backbone, patches.shape[1], images.shape[-1])
        logits, truth = self.scores(patches, grid), shrink(masks, self.mask_size)
        counted = truth != VOID
        pixels = counted.sum().clamp(min=1)  # a batch without any learns nothing
        loss = F.cross_entropy(logits, truth, ignore_index=VOID, reduction='sum') / pixels
        return dict(loss_ce=loss, accuracy=100 * ((logits.detach().argmax(1) == truth) & counted).sum() / pixels)

    def scores(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Logits ``(B, K, mask_size, mask_size)`` of patches ``(B, N, D)``, rows and columns of a grid."""
        maps = patches.float().transpose(1, 2).unflatten(2, grid)
        with torch.autocast(maps.device.type, enabled=False):
            return _resize(self.linear(maps), (self.mask_size, self.mask_size))


@METRICS.register_module()
class SegmentationMetric:
    """Intersection over union of classes as they are, of one confusion matrix of all pixels; percent.

    ``mIoU_leopart`` is Leopart's mean over all classes, in which one that is neither there nor predicted counts 0; ``mIoU_clean`` is over
    the others; ``accuracy`` is the share of pixels that are right.

    Args:
        void_classes: Classes that the authors count besides, though their pixels are left out: 1 for ADE20K, of which they average over
            151, and one is always 0.
    """

    def __init__(self, void_classes: NonNegativeInt = 0):
        self.void_classes = void_classes

    def __call__(self, matrix: Tensor) -> dict[str, float]:
        """Of the matrix of :func:`mmdssl.protocols.segmentation_scores.confusion`.

        Raises:
            InputError: No pixel counts.
        """
        if not matrix.sum():
            raise InputError('no pixel of the images that are evaluated is of a class: check masks, classes and ignore of the data set')
        iou, _ = class_iou(matrix)
        return dict(mIoU_leopart=(100 * iou.sum() / (len(iou) + self.void_classes)).item(), mIoU_clean=mean_iou(matrix),
                    accuracy=pixel_accuracy(matrix))


@MODELS.register_module()
class NormalisedLinearHead(nn.Module):
    """A decode head for mmseg's segmentors: dropout of channels, batch normalisation and a linear classifier of the last map (DINOv3).

    Its logits are compared with labels, and predicted, at the size of the image. The loss is the cross-entropy summed over the pixels with
    a label and divided by the number of all, as mmseg's and DINOv3's.

    Args:
        in_channels: Width of the map.
        num_classes: Classes.
        dropout: Probability that a channel is set to 0.
        ignore_index: Label of pixels that are not counted.

    Attributes:
        align_corners: Of all resizing; mmseg reads it.
        out_channels: Number of classes; mmseg reads it.
    """
    align_corners = False

    def __init__(self, in_channels: PositiveInt, num_classes: PositiveInt, dropout: Share = 0.1, ignore_index: int = 255):
        super().__init__()
        self.num_classes = self.out_channels = num_classes
        self.ignore_index = ignore_index
        self.dropout = nn.Dropout2d(dropout)
        self.norm = nn.BatchNorm2d(in_channels)
        self.linear = nn.Conv2d(in_channels, num_classes, 1)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits ``(B, K, h, w)`` of maps, of which the last one ``(B, D, h, w)`` counts."""
        return self.linear(self.norm(self.dropout(maps[-1])))

    def loss(self, maps: Sequence[Tensor], samples: Sequence[SegDataSample], train_cfg: dict | None = None) -> dict[str, Tensor]:
        """``loss_ce``, and ``acc_seg``, the share of the pixels with a label that are right in percent."""
        labels = torch.stack([sample.gt_sem_seg.data for sample in samples]).squeeze(1)
        logits = _resize(self(maps), labels.shape[-2:])
        counted = labels != self.ignore_index
        right = (logits.detach().argmax(1) == labels) & counted
        return dict(loss_ce=F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction='sum') / labels.numel(),
                    acc_seg=100 * right.sum() / counted.sum().clamp(min=1))

    def predict(self, maps: Sequence[Tensor], metas: Sequence[dict], test_cfg: dict | None = None) -> Tensor:
        """Logits ``(B, K, H, W)`` at the size of the padded image, or of the window of it that the maps are of."""
        shape = metas[0]['img_shape']
        if not isinstance(shape, torch.Size):  # which is how mmseg tells a window
            shape = metas[0].get('pad_shape', shape)
        return _resize(self(maps), shape[:2])


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=False)
