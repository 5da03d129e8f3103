"""Linear classifiers of the patches of a frozen backbone, by the recipes of Leopart and of DINOv3.

Ziegler and Asano, "Self-supervised learning of object parts for semantic segmentation", CVPR 2022, whose evaluation later tables share
(CrOC, TimeT, NeCo); Siméoni et al., "DINOv3", 2025. The same features score some points more or less by the one than by the other, by the
size of the masks alone: compare numbers of one recipe.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdssl.arguments import PositiveInt, Share
from mmdssl.registry import MODELS

if TYPE_CHECKING:
    from mmseg.structures import SegDataSample


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
