"""One vector for each whole image, of any size, by which images are looked for."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdssl.arguments import NonEmpty, Positive
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.frozen import FrozenBackbone, cut_to_patches
from mmdssl.registry import MODELS


def generalised_mean(patches: Tensor, power: float = 4.) -> Tensor:
    """GeM pooling of patches ``(B, N, D)`` to ``(B, D)``: the root of the mean power, of what is at least 1e-6 (Radenovic et al.)."""
    return patches.clamp(min=1e-6).pow(power).mean(1).pow(1 / power)


@MODELS.register_module()
class ImageDescriptor(FrozenBackbone):
    """Vectors of images: ``descriptor`` ``(D,)`` fp32, not L2-normalised, of ``image`` ``(3, H, W)`` uint8. Nothing is trained.

    Args:
        backbone: Config of the network.
        extractor: What is read of it, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors.
        gem: Stand the generalised mean of the last block's patches, of this power, behind what is read; None for nothing.
        scales: The descriptor is the mean over the image in these sizes (bilinear), as it is or smaller.
        data_preprocessor: Of images; ImageNet's mean and deviation by default.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, extractor: Mapping | Extractor | None = None, gem: Positive | None = None,
                 scales: Annotated[Sequence[Positive], NonEmpty] = (1., ), data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(backbone, data_preprocessor, init_cfg)
        self.extractor = Extractor.of(extractor)
        self.gem = gem
        self.scales = scales

    @torch.no_grad()
    def predict_sample(self, sample: dict) -> dict:
        image = self.data_preprocessor.normalise(sample['image'])[None]
        found = [self._describe(image if scale == 1 else F.interpolate(image, scale_factor=scale, mode='bilinear', align_corners=False))
                 for scale in self.scales]
        return dict(index=sample['index'], descriptor=torch.stack(found).mean(0))

    def _describe(self, images: Tensor) -> Tensor:
        images = cut_to_patches(images, self.backbone)
        parts = [self.extractor(self.backbone, images)]
        if self.gem is not None:
            parts.append(generalised_mean(Extractor(read='patches')(self.backbone, images), self.gem))
        return torch.cat(parts, dim=1)[0].float()
