"""The last step of the data pipeline, on the device."""
from __future__ import annotations

from dataclasses import replace

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmdssl.arguments import Positive
from mmdssl.datasets.transforms.photometric import adjust_on_device
from mmdssl.datasets.views import Views
from mmdssl.registry import MODELS


@MODELS.register_module()
class ViewsPreprocessor(BaseDataPreprocessor):
    """Moves views to the device as a whole, then makes their pixels normalised floats there.

    The photometric augmentation of views that were made with ``photometric_device`` is done there too.

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
        views = adjusted(views, self.mean.device)
        groups = {name: replace(group, images=self.normalise(group.images)) for name, group in views.items()}
        return dict(views=replace(views, groups=groups))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB ``(..., 3, H, W)`` anywhere -> normalised floats on this module's device."""
        return (images.to(self.mean.device, non_blocking=True) - self.mean).div_(self.std)


def adjusted(views: Views, device: torch.device | str = 'cpu') -> Views:
    """Views on a device, of a batch or of one image, with the photometric augmentation that was left to it."""
    rows = {name: group.photometric for name, group in views.items()}  # which are read where they come from
    bare = replace(views, groups={name: replace(group, photometric=None) for name, group in views.items()})
    views = bare.to(device, non_blocking=True)
    groups = {name: group if rows[name] is None else replace(group, images=adjust_on_device(group.images, rows[name]))
              for name, group in views.items()}
    return replace(views, groups=groups)
