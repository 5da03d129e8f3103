"""ADCLR: patch-level contrasting without patch correspondence (Zhang et al., ICLR 2023)."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmdssl.arguments import NonNegative
from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.ibot import IBOT
from mmdssl.models.losses.distillation import cross_view
from mmdssl.registry import MODELS


@MODELS.register_module()
class ADCLR(IBOT):
    """DINO, and small query crops, appended as single tokens to both views, must come out alike in both.

    The query tokens read the image, the image never reads them (Eq. 4 and 5), so that the same crop gathers from each view what
    belongs to it and no correspondence between patches is needed.

    Views: ``global`` (two), ``query`` (Q crops of exactly one patch), ``local`` (optional).

    Args:
        backbone: Config of the backbone.
        head: As DINO's.
        query_weight: Weight of the local loss, lambda.
        query_center: ``'own'``, the queries' own running center, or ``'shared'``, the class tokens'.
        masked: Add iBOT's masked objective (the rows marked * in the paper).
        kwargs: As iBOT's.
    """
    streams = ('cls', 'patch', 'query')

    def __init__(self, backbone: dict, head: dict, query_weight: NonNegative = 0.5,
                 query_center: Literal['own', 'shared'] = 'own', masked: bool = False, **kwargs):
        super().__init__(backbone, head, masked=masked, **kwargs)
        self.query_weight = query_weight
        self.share_query_center(query_center)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls`` and ``loss_query``: L = L_global + lambda L_local (Eq. 7)."""
        self.check(views, ['global', 'query'], ['local'])
        with torch.no_grad():
            queries = self.query_tokens(self.teacher.backbone, views)
            targets = self.teacher_targets(self.teacher_tokens(views, queries), self.masked_rows(views))
        logits = self.student_logits(self.student_tokens(views, self.query_tokens(self.student.backbone, views)))
        terms = self.image_terms(views, targets, logits)
        local = cross_view(targets['query'].flatten(1, 2), logits['query'].flatten(1, 2), overwrite=True)
        return dict(terms, loss_query=self.query_weight * local)

    @staticmethod
    def query_tokens(backbone: nn.Module, views: Views) -> Tensor:
        """The same query crops for each global view, ``(V, B, Q, D)``."""
        crops = views['query'].images.transpose(0, 1)
        return backbone.embed_query_pixels(crops).expand(len(views['global'].images), -1, -1, -1)
