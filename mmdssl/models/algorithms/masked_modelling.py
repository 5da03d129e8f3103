"""What methods share that predict masked patches from the others."""
from __future__ import annotations

from abc import abstractmethod

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.registry import MODELS


class MaskedModelling(Algorithm):
    """A vision transformer that is asked what it was not shown.

    Views: ``global`` (any number, usually one), with masks.

    Args:
        backbone: Config of the backbone, a :class:`mmdssl.models.backbones.VisionTransformer`.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        backbone = MODELS.build(backbone)
        if not hasattr(backbone, 'forward_tokens'):
            raise InputError(f'{type(self).__name__} reads single patches, which only a VisionTransformer has: make model.backbone '
                             'one, or use a method that reads pooled features, such as DINO')
        self.student = ModuleDict(dict(backbone=backbone))

    @property
    def backbone(self) -> nn.Module:
        return self.student.backbone

    def masked_crops(self, views: Views) -> ViewGroup:
        """The group to work on.

        Raises:
            InputError: The views are others, or not masked.
        """
        self.check(views, ['global'])
        crops, grid = views['global'], self.backbone.grid_of(views['global'].images)
        if crops.masks is None:
            raise InputError(f'{type(self).__name__} predicts masked patches, but nothing is masked: give '
                             "train_dataloader.dataset.views.global_ a mask, such as mask=dict(type='BlockMask', patch_size=16, ratio=0.4)")
        if crops.masks.shape[2:] != grid:
            raise InputError(f'masks of {crops.masks.shape[2]} x {crops.masks.shape[3]} patches do not fit views of {grid[0]} x {grid[1]}: '
                             "the patch_size of the mask must be the backbone's")
        return crops

    def masked_tokens(self, crops: ViewGroup) -> Tensor:
        """Tokens ``(M, D)`` of the masked patches of images that have the mask token there."""
        tokens = self.backbone.forward_tokens(crops.images.flatten(0, 1), crops.masks.flatten(0, 1).flatten(1))
        self.remember_features(self.backbone.pooled(tokens))
        return tokens.patches.flatten(0, 1)[crops.mask_index]

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images as they were before the data preprocessor, 0..1."""
        return (images * self.data_preprocessor.std + self.data_preprocessor.mean) / 255

    @torch.no_grad()
    def pictures(self, views: Views) -> dict[str, Tensor]:
        """What is asked and answered, by the name of the picture: of each crop ``(V*B, 3, H, W)`` in 0..1."""
        crops = self.masked_crops(views)
        images = self.pixels(crops.images.flatten(0, 1))
        hidden = crops.masks.flatten(0, 1)[:, None].repeat_interleave(self.backbone.patch_size, 2)
        hidden = hidden.repeat_interleave(self.backbone.patch_size, 3)
        shown = dict(image=images, masked=images.masked_fill(hidden, 0.5))
        return {name: picture.clamp(0, 1) for name, picture in (shown | self.answers(crops, images, hidden)).items()}

    @abstractmethod
    def answers(self, crops: ViewGroup, images: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The pictures of this method, for :meth:`pictures`.

        Args:
            crops: The group.
            images: Its crops in 0..1.
            hidden: ``(V*B, 1, H, W)``, True where masked.
        """

    def fill(self, crops: ViewGroup, values: Tensor) -> Tensor:
        """Values ``(M, C)`` of the masked patches, and zeros elsewhere, ``(V*B, N, C)``."""
        num_crops, num_patches = crops.flips.numel(), crops.masks[0, 0].numel()
        filled = values.new_zeros(num_crops * num_patches, values.shape[1])
        return filled.index_copy_(0, crops.mask_index, values).view(num_crops, num_patches, -1)
