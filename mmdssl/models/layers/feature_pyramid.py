"""Maps of one stride to the four strides that detectors and segmentors want."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmdssl.errors import InputError

STRIDES = (4, 8, 16, 32)


class FeaturePyramid(nn.ModuleList):
    """Four maps of a plain vision transformer to strides 4, 8, 16 and 32.

    A map is upsampled by transposed convolutions of stride 2 (with batch normalisation and GELU between two of them), left as it
    is, or max-pooled: the adapter that BEiT, iBOT and PQCL fine-tune with. In a distributed run set ``sync_bn='torch'``.

    Args:
        dim: Channels.
        patch_size: Stride of the maps, in pixels: 4, 8, 16 or 32.
    """

    def __init__(self, dim: int, patch_size: int = 16):
        if patch_size not in STRIDES:
            raise InputError(f'a pyramid of strides {STRIDES} cannot be made of patches of {patch_size} pixels: set '
                             'backbone.pyramid=False, or use a backbone with patches of 4, 8, 16 or 32')
        super().__init__(_rescale(dim, patch_size / stride) for stride in STRIDES)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Four maps ``(B, D, h, w)``, shallow ones first, or one that serves all strides."""
        if len(maps) == 1:
            maps = [*maps] * len(self)
        return tuple(rescale(x) for rescale, x in zip(self, maps, strict=True))


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
