"""The last step of the data pipeline, on the device."""
from __future__ import annotations

from dataclasses import replace

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmdssl.arguments import Positive
from mmdssl.datasets.views import Views
from mmdssl.registry import MODELS


@MODELS.register_module()
class ViewsPreprocessor(BaseDataPreprocessor):
    """Moves views to the device as a whole, then makes their pixels normalised floats there.

    Args:
        mean: Mean of red, green and blue, in 0..255; ImageNet's by default.
        std: Standard deviation of red, green and blue, in the same unit.
    """

    def __init__(self, mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
                 std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)):
        super().__init__(non_blocking=True)
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, views: Views, training: bool = False) -> dict[str, Views]:
        views = views.to(self.mean.device, non_blocking=True)
        groups = {name: replace(group, images=self.normalise(group.images)) for name, group in views.items()}
        return dict(views=replace(views, groups=groups))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB ``(..., 3, H, W)`` anywhere -> normalised floats on this module's device."""
        return (images.to(self.mean.device, non_blocking=True) - self.mean).div_(self.std)
