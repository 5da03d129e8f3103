"""MaskFeat: masked feature prediction for self-supervised visual pre-training (Wei et al., CVPR 2022)."""
from __future__ import annotations

from typing import Literal

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.masked_modelling import MaskedModelling
from mmdssl.models.layers.targets import BINS, hog, hog_cells, hog_patches, normalise_patches, patchify, unpatchify
from mmdssl.models.losses.masked import mean_over_masked
from mmdssl.registry import MODELS
from mmdssl.visualization.reconstruction import hog_picture


@MODELS.register_module()
class MaskFeat(MaskedModelling):
    """The backbone predicts the histograms of oriented gradients of masked patches, or, to compare with, their pixels.

    Views: ``global`` (usually one), with masks.

    Args:
        backbone: Config of the backbone, with ``mask_token=True``.
        cell: Side in pixels of the cells of the histograms.
        target: ``'pixels'`` are those of each patch at mean 0 and variance 1, the first of the targets that the paper compares.
        window: Gaussian window of the histograms, see :func:`mmdssl.models.layers.targets.hog`.
        kwargs: Of :class:`mmdssl.models.algorithms.masked_modelling.MaskedModelling`.
    """

    def __init__(self, backbone: dict, cell: int = 8, window: int | None = None,
                 target: Literal['hog', 'pixels'] = 'hog', **kwargs):
        super().__init__(backbone, **kwargs)
        patch_size = self.backbone.patch_size
        if self.backbone.mask_token is None:
            raise InputError('MaskFeat masks patches with a token: set model.backbone.mask_token=True')
        if patch_size % cell:
            raise InputError(f'cells of {cell} px do not fill a patch of {patch_size} px: change model.cell')
        self.cell, self.cells, self.window = cell, patch_size // cell, window
        self.target = target
        self.student['head'] = nn.Linear(self.backbone.embed_dim, 3 * (patch_size**2 if target == 'pixels' else BINS * self.cells**2))
        for weight in (self.student.head.weight, self.backbone.mask_token):
            trunc_normal_(weight, std=.02)
        nn.init.zeros_(self.student.head.bias)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_hog`` or ``loss_pixels``: mean squared error of the masked patches (Sec. 3)."""
        crops = self.masked_crops(views)
        predicted = self.student.head(self.masked_tokens(crops))
        target = self.targets(crops).flatten(0, 1)[crops.mask_index]
        return {f'loss_{self.target}': mean_over_masked((predicted.to(target.dtype) - target).square().mean(-1))}

    @torch.no_grad()
    def targets(self, crops: ViewGroup) -> Tensor:
        """Of each patch, ``(V*B, N, C)``."""
        if self.target == 'pixels':
            return normalise_patches(patchify(crops.images.flatten(0, 1), self.backbone.patch_size))[0]
        return hog_patches(self.histograms(crops), self.cells)

    @torch.no_grad()
    def histograms(self, crops: ViewGroup) -> Tensor:
        with torch.autocast(crops.images.device.type, enabled=False):
            return hog(crops.images.flatten(0, 1), self.cell, self.window)

    def answers(self, crops: ViewGroup, images: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The true targets, and those that are predicted in the masked patches beside the true ones elsewhere."""
        predicted = self.fill(crops, self.student.head(self.masked_tokens(crops)).float())
        true, predicted = (self.picture(patches, crops) for patches in (self.targets(crops), predicted))
        name = dict(hog='HOG', pixels='pixels')[self.target]
        return {name: true, f'predicted {name}': torch.where(hidden, predicted, true)}

    def picture(self, patches: Tensor, crops: ViewGroup) -> Tensor:
        """Targets as pictures ``(V*B, 3, H, W)``."""
        grid = crops.masks.shape[2:]
        if self.target == 'pixels':
            return self.pixels(unpatchify(patches, self.backbone.patch_size, grid))
        return hog_picture(hog_cells(patches, self.cells, grid), self.cell)
