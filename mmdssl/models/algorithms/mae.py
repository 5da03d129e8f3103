"""MAE: masked autoencoders are scalable vision learners (He et al., CVPR 2022)."""
from __future__ import annotations

import torch
from torch import Tensor

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.masked_modelling import MaskedModelling
from mmdssl.models.layers.decoder import Decoder
from mmdssl.models.layers.position import stretched_grid
from mmdssl.models.layers.targets import normalise_patches, patchify, unpatchify
from mmdssl.models.losses.masked import mean_over_masked
from mmdssl.registry import MODELS


@MODELS.register_module()
class MAE(MaskedModelling):
    """The backbone sees the few patches that are left, and a small decoder draws the others.

    Views: ``global`` (usually one), each with the same number of masked patches.

    Args:
        backbone: Config of the backbone; the paper's has ``position='sincos'`` and ``init='mae'``.
        decoder: Arguments of the :class:`mmdssl.models.layers.decoder.Decoder`.
        normalise_pixels: Predict the pixels of each patch at its own mean 0 and variance 1.
        kwargs: Of :class:`mmdssl.models.algorithms.masked_modelling.MaskedModelling`.
    """

    def __init__(self, backbone: dict, decoder: dict | None = None, normalise_pixels: bool = True, **kwargs):
        super().__init__(backbone, **kwargs)
        pixels = 3 * self.backbone.patch_size**2
        self.student['decoder'] = MODELS.build(
            {'type': Decoder, 'in_dim': self.backbone.embed_dim, 'out_dim': pixels, **(decoder or {})})
        if self.backbone.mask_token is not None:
            self.backbone.mask_token.requires_grad_(False)  # the decoder has its own; DistributedDataParallel waits for every gradient
        self.normalise_pixels = normalise_pixels

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_pixels``: mean squared error of the masked patches (Sec. 3)."""
        crops = self.masked_crops(views)
        predicted = self.reconstruct(crops).flatten(0, 1)[crops.mask_index]
        target = self.patches_of(crops)[crops.mask_index]
        if self.normalise_pixels:
            target, _, _ = normalise_patches(target)
        return dict(loss_pixels=mean_over_masked((predicted.to(target.dtype) - target).square().mean(-1)))

    def masked_crops(self, views: Views) -> ViewGroup:
        crops = super().masked_crops(views)
        if crops.keep_index is None:
            raise InputError('MAE encodes the patches that are left, which must be as many in every crop: make the mask '
                             "dict(type='RandomMask', ratio=0.75, leave=True) with the patch_size of the backbone")
        return crops

    def reconstruct(self, crops: ViewGroup) -> Tensor:
        """Predicted pixels of all patches, ``(V*B, N, P*P*3)``."""
        images, keep = crops.images.flatten(0, 1), crops.keep_index.flatten(0, 1)
        tokens = self.backbone.forward_tokens(images, keep=keep)
        self.remember_features(self.backbone.pooled(tokens))
        coordinates = stretched_grid(self.backbone.grid_of(images), self.backbone.frame, images.device)
        return self.student.decoder(tokens.cls, tokens.patches, keep, coordinates)

    def patches_of(self, crops: ViewGroup) -> Tensor:
        return patchify(crops.images.flatten(0, 1), self.backbone.patch_size).flatten(0, 1)

    def answers(self, crops: ViewGroup, images: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The reconstruction, at the mean and contrast of the true patches where the network predicts neither."""
        patches = self.reconstruct(crops).float()
        if self.normalise_pixels:
            _, mean, deviation = normalise_patches(self.patches_of(crops).view_as(patches))
            patches = patches * deviation + mean
        drawn = self.pixels(unpatchify(patches, self.backbone.patch_size, crops.masks.shape[2:]))
        return dict(reconstruction=torch.where(hidden, drawn, images))
