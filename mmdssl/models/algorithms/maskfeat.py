"""MaskFeat: masked feature prediction for self-supervised visual pre-training (Wei et al., CVPR 2022)."""
from __future__ import annotations

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.masked_modelling import MaskedModelling
from mmdssl.models.layers.targets import BINS, hog, hog_cells, hog_patches
from mmdssl.models.losses.masked import mean_over_masked
from mmdssl.registry import MODELS
from mmdssl.visualization.reconstruction import hog_picture


@MODELS.register_module()
class MaskFeat(MaskedModelling):
    """The backbone predicts the histograms of oriented gradients of masked patches.

    Views: ``global`` (usually one), with masks.

    Args:
        backbone: Config of the backbone, with ``mask_token=True``.
        cell: Side in pixels of the cells of the histograms.
        window: Gaussian window of the histograms, see :func:`mmdssl.models.layers.targets.hog`.
        kwargs: Of :class:`mmdssl.models.algorithms.masked_modelling.MaskedModelling`.
    """

    def __init__(self, backbone: dict, cell: int = 8, window: int | None = None, **kwargs):
        super().__init__(backbone, **kwargs)
        patch_size = self.backbone.patch_size
        if self.backbone.mask_token is None:
            raise InputError('MaskFeat masks patches with a token: set model.backbone.mask_token=True')
        if patch_size % cell:
            raise InputError(f'cells of {cell} px do not fill a patch of {patch_size} px: change model.cell')
        self.cell, self.cells, self.window = cell, patch_size // cell, window
        self.student['head'] = nn.Linear(self.backbone.embed_dim, 3 * BINS * self.cells**2)
        for weight in (self.student.head.weight, self.backbone.mask_token):
            trunc_normal_(weight, std=.02)
        nn.init.zeros_(self.student.head.bias)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_hog``: mean squared error of the masked patches (Sec. 3)."""
        crops = self.masked_crops(views)
        predicted = self.student.head(self.masked_tokens(crops))
        target = hog_patches(self.histograms(crops), self.cells).flatten(0, 1)[crops.mask_index]
        return dict(loss_hog=mean_over_masked((predicted.to(target.dtype) - target).square().mean(-1)))

    @torch.no_grad()
    def histograms(self, crops: ViewGroup) -> Tensor:
        with torch.autocast(crops.images.device.type, enabled=False):
            return hog(crops.images.flatten(0, 1), self.cell, self.window)

    def answers(self, crops: ViewGroup, images: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """True histograms, and those that are predicted in the masked patches beside the true ones elsewhere."""
        true = self.histograms(crops)
        patches = self.fill(crops, self.student.head(self.masked_tokens(crops)).float())
        predicted = hog_picture(hog_cells(patches, self.cells, crops.masks.shape[2:]), self.cell)
        true = hog_picture(true, self.cell)
        return {'HOG': true, 'predicted HOG': torch.where(hidden, predicted, true)}
