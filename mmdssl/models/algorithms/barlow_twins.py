"""Barlow Twins: self-supervised learning via redundancy reduction (Zbontar et al., ICML 2021)."""
from __future__ import annotations

from torch import Tensor, nn

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.joint_embedding import JointEmbedding
from mmdssl.models.losses.contrastive import redundancy
from mmdssl.models.losses.distillation import at_least_fp32
from mmdssl.registry import MODELS


@MODELS.register_module()
class BarlowTwins(JointEmbedding):
    """Each dimension of the latents agrees with itself in the other view of an image, and tells what no other dimension does.

    Views: ``global`` (two).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        off_diagonal_weight: lambda.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, off_diagonal_weight: float = 0.0051, **kwargs):
        super().__init__(backbone, projector, **kwargs)
        self.standardise = nn.BatchNorm1d(projector['out_dim'], affine=False)
        self.off_diagonal_weight = off_diagonal_weight

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_redundancy`` (Eq. 1)."""
        self.check(views, ['global'])
        first, second = (self.standardise(at_least_fp32(latents)) for latents in self.student_latents(views['global']))
        return dict(loss_redundancy=redundancy(first, second, self.off_diagonal_weight))
