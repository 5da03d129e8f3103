"""Maps of one stride to the four strides that detectors and segmentors want."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)


class FeaturePyramid(nn.ModuleList):
    """Four maps of a plain vision transformer to strides 4, 8, 16 and 32.

    A map is upsampled by transposed convolutions of stride 2 (with batch normalisation and GELU between two of them), left as it
    is, or max-pooled: the adapter that BEiT, iBOT and PQCL fine-tune with. In a distributed run set ``sync_bn='torch'``.

    Maps of another stride, of patches of 14 pixels say, are first resized bilinearly to the nearest of the four: what lies above a
    pixel of the image before does so afterwards.

    Args:
        dim: Channels.
        patch_size: Stride of the maps, in pixels.
    """

    def __init__(self, dim: int, patch_size: int = 16):
        self.patch_size = patch_size
        self.stride = min(STRIDES, key=lambda stride: abs(math.log2(stride / patch_size)))
        super().__init__(_rescale(dim, self.stride / stride) for stride in STRIDES)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """
        Args:
            maps: Four maps ``(B, D, h, w)``, shallow ones first, or one that serves all strides.
            size: ``(H, W)`` of the image in pixels, which may end within a patch.
        """
        if self.stride != self.patch_size:
            maps = [self._resized(x, size) for x in maps]
        if len(maps) == 1:
            maps = [*maps] * len(self)
        return tuple(rescale(x) for rescale, x in zip(self, maps, strict=True))

    def _resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = (-(-side // self.stride) for side in size)
        beyond = [max(0, math.ceil(side * self.stride / self.patch_size) - have) for side, have in zip((width, height), x.shape[:1:-1])]
        x = F.pad(x, (0, beyond[0], 0, beyond[1]), mode='replicate')  # a last cell may begin in the image and end behind the last patch
        scale = self.patch_size / self.stride
        return F.interpolate(x, scale_factor=scale, mode='bilinear')[:, :, :height, :width]


def _rescale(dim: int, factor: float) -> nn.Module:
    if factor < 1:
        return nn.MaxPool2d(round(1 / factor))
    layers: list[nn.Module] = []
    while factor > 1:
        if layers:
            layers += [nn.BatchNorm2d(dim), nn.GELU()]
        layers.append(nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2))
        factor /= 2
    return nn.Sequential(*layers)
