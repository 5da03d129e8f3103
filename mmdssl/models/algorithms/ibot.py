"""iBOT: image BERT pre-training with online tokenizer (Zhou et al., ICLR 2022)."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmdssl.arguments import NonNegative
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.dino import DINO, image_features
from mmdssl.models.losses.distillation import masked_patches
from mmdssl.registry import MODELS


@MODELS.register_module()
class IBOT(DINO):
    """DINO, and the student predicts the teacher's distribution at the patches that were masked for it.

    Views: ``global`` (two; with masks where ``masked``), ``local`` (optional, unmasked, class token only).

    Args:
        backbone: Config of the backbone, with ``mask_token=True`` where ``masked``.
        head: As DINO's; K is 8192.
        masked: Use the masked objective; without it this is DINO on the same code path.
        patch_weight: Weight of its loss, lambda_2.
        sharing: Prototypes of the token streams: ``'shared'``; ``'vanilla'``, each stream its own; ``'semi-shared'``, the student
            its own, the teacher one set, the average of the student's for class tokens.
        kwargs: As DINO's.
    """
    streams = ('cls', 'patch')
    masked_queries = False

    def __init__(self, backbone: dict, head: dict, masked: bool = True, patch_weight: NonNegative = 1.0,
                 sharing: Literal['shared', 'semi-shared', 'vanilla'] = 'shared', **kwargs):
        self.streams = [stream for stream in type(self).streams if masked or stream != 'patch']
        owners = ['cls'] if sharing == 'shared' else self.streams
        super().__init__(backbone, dict(head, streams=owners), **kwargs)
        if not hasattr(self.backbone, 'forward_tokens'):
            raise InputError(f'{type(self).__name__} reads single tokens, which only a VisionTransformer has: make model.backbone '
                             'one, or use a method that reads pooled features, such as DINO')
        if sharing == 'semi-shared':
            for stream in self.streams[1:]:
                del self.teacher.head.last_layer[stream]
        mask_token = self.student.backbone.mask_token
        if mask_token is not None and not (masked or self.masked_queries):
            mask_token.requires_grad_(False)  # nobody reads it, and DistributedDataParallel waits for every gradient
        self.masked = masked
        self.patch_weight = patch_weight

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls`` as DINO's and ``loss_patch`` on masked patches of the same view (Eq. 2)."""
        self.check(views, ['global'], ['local'])
        with torch.no_grad():
            targets = self.teacher_targets(self.teacher_tokens(views), self.masked_rows(views))
        logits = self.student_logits(self.student_tokens(views))
        return self.image_terms(views, targets, logits)

    def share_query_center(self, query_center: Literal['own', 'shared']) -> None:
        """For methods with queries: keep their own center (``'own'``) or use the class tokens' (``'shared'``)."""
        if query_center == 'shared':
            del self.centers['query']

    def image_terms(self, views: Views, targets: dict[str, Tensor], logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses on the image's own tokens: class tokens, and masked patches where ``masked``."""
        terms = self.cls_terms(targets['cls'], logits['cls'])
        if self.masked:
            crops = views['global']
            loss = masked_patches(targets['patch'], logits['patch'], crops.mask_weight, crops.flips.numel(), overwrite=True)
            terms['loss_patch'] = self.patch_weight * loss
        return terms

    def masked_rows(self, views: Views) -> dict[str, Tensor]:
        """By stream, the rows of all patches that the loss needs: the masked ones."""
        if not self.masked:
            return {}
        crops, grid = views['global'], self.backbone.grid_of(views['global'].images)
        if crops.masks is None:
            raise InputError('this method predicts masked patches, but the global views come without masks: add '
                             'mask=dict(...) to train_dataloader.dataset.views.global_, or set model.masked=False')
        if crops.masks.shape[-2:] != grid:
            raise InputError(f"masks of {tuple(crops.masks.shape[-2:])} patches do not fit the backbone's {grid}: the mask's "
                             "patch_size must be the backbone's")
        return dict(patch=crops.mask_index)

    def teacher_tokens(self, views: Views, queries: Tensor | None = None) -> dict[str, Tensor]:
        """Tokens of the unmasked global views by stream: class ``(V, B, D)``, all patches ``(V*B*N, D)``, queries."""
        return self._tokens(self.teacher.backbone, views['global'], queries, read=None if self.masked else 'cls')

    def student_tokens(self, views: Views, queries: Tensor | None = None) -> dict[str, Tensor]:
        """Tokens of the masked global views by stream, patches ``(M, D)`` only where masked; class tokens of local views too."""
        crops = views['global']
        tokens = self._tokens(self.student.backbone, crops, queries, crops.masks if self.masked else None,
                              crops.mask_index if self.masked else 'cls')
        if 'local' in views:
            tokens['cls'] = torch.cat([tokens['cls'], image_features(self.student.backbone, views['local'])])
        return tokens

    def _tokens(self, backbone, crops: ViewGroup, queries: Tensor | None, masks: Tensor | None = None,
                read: Tensor | Literal['cls'] | None = None) -> dict[str, Tensor]:
        shape = crops.images.shape[:2]
        cls, patches, queries_out = backbone.forward_tokens(
            crops.images.flatten(0, 1),
            None if masks is None else masks.flatten(0, 1).flatten(1),
            None if queries is None else queries.flatten(0, 1), read=read)
        tokens = dict(cls=cls.unflatten(0, shape))
        if self.masked:
            tokens['patch'] = patches.flatten(0, -2)
        if queries is not None:
            tokens['query'] = queries_out.unflatten(0, shape)
        return tokens
