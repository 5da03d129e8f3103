"""PQCL: patch-level contrastive learning via positional query (Zhang et al., ICML 2023)."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmdssl.arguments import NonNegative
from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.ibot import IBOT
from mmdssl.models.layers.position import integer_grid, relative_coordinates
from mmdssl.models.losses.distillation import cross_entropy
from mmdssl.registry import MODELS


@MODELS.register_module()
class PQCL(IBOT):
    """iBOT, and the student says from a position alone what the teacher sees in a crop at that position.

    The student gets, with each global view, masked query tokens whose only content is where the patches of the query crop lie in
    the frame of that view; the teacher gets the crop's pixels. Queries read the image, the image never reads them.

    Views: ``global`` (two, with masks where ``masked``), ``query`` (one crop or more), ``local`` (optional).

    Args:
        backbone: Config of the backbone, with ``position='sincos'`` and ``mask_token=True``.
        head: As iBOT's.
        query_weight: Weight of the query loss, lambda.
        query_center: ``'own'``, the queries' own running center, or ``'shared'``, the class tokens'.
        anchor: What a query's coordinate names, see :func:`mmdssl.models.layers.position.relative_coordinates`.
        teacher_position: Positions of the query crop in the teacher: ``'stretched'`` over the training frame, or its own
            ``'integer'`` grid.
        masked: iBOT base; False for DINO base (PQCL-DINO).
        kwargs: As iBOT's.
    """
    streams = ('cls', 'patch', 'query')
    masked_queries = True

    def __init__(self, backbone: dict, head: dict, query_weight: NonNegative = 1.0,
                 query_center: Literal['own', 'shared'] = 'own', anchor: Literal['corner', 'center'] = 'corner',
                 teacher_position: Literal['stretched', 'integer'] = 'stretched', masked: bool = True, **kwargs):
        super().__init__(backbone, head, masked=masked, **kwargs)
        self.query_weight = query_weight
        self.anchor = anchor
        self.teacher_position = teacher_position
        self.share_query_center(query_center)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls``, ``loss_patch`` and ``loss_query``: L = L_iBOT + lambda L_query (Eq. 8 and 9)."""
        self.check(views, ['global', 'query'], ['local'])
        coordinates = self.coordinates(views)
        with torch.no_grad():
            tokens = dict(self.teacher_tokens(views), query=self.teacher_queries(views))
            targets = self.teacher_targets(tokens, self.masked_rows(views))
        queries = self.student.backbone.embed_query_positions(coordinates)
        logits = self.student_logits(self.student_tokens(views, queries))
        terms = self.image_terms(views, targets, logits)
        query = cross_entropy(targets['query'], logits['query'], overwrite=True).mean()
        return dict(terms, loss_query=self.query_weight * query)

    def coordinates(self, views: Views) -> Tensor:
        """Where the query patches lie in the frame of each global view, ``(V, B, C*Q, 2)`` for C crops of Q patches."""
        view, query = views['global'], views['query']
        backbone = self.student.backbone
        grid, query_grid = (group.images.shape[-1] // backbone.patch_size for group in (view, query))
        coordinates = relative_coordinates(view.boxes[:, :, None], view.flips[:, :, None], query.boxes.transpose(0, 1),
                                           query.flips.transpose(0, 1), grid, query_grid, self.anchor)
        # Views of another size than the backbone's frame have their own patches stretched over it.
        return (coordinates.flatten(2, 3) + 0.5) * (backbone.frame[0] / grid) - 0.5

    def teacher_queries(self, views: Views) -> Tensor:
        """What the teacher sees in the query crops, ``(B, C*Q, D)``: they are ordinary small images to it."""
        crops = views['query'].images.transpose(0, 1)
        backbone = self.teacher.backbone
        grid = None if self.teacher_position == 'stretched' else integer_grid(backbone.grid_of(crops), crops.device)
        patches = backbone.forward_tokens(crops.flatten(0, 1), coordinates=grid).patches
        return patches.unflatten(0, crops.shape[:2]).flatten(1, 2)
