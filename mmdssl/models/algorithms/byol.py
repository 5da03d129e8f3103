"""BYOL: bootstrap your own latent (Grill et al., NeurIPS 2020)."""
from __future__ import annotations

from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.joint_embedding import JointEmbedding, unit
from mmdssl.models.losses.contrastive import cosines
from mmdssl.registry import MODELS


@MODELS.register_module()
class BYOL(JointEmbedding):
    """From each view the student predicts the teacher's projection of the other view. There are no negatives.

    Views: ``global`` (two).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        predictor: The same of the predictor.
        momentum: Of the teacher, at the start; it grows to 1 along a cosine.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, predictor: dict, momentum: float = 0.996, **kwargs):
        super().__init__(backbone, projector, predictor, teacher=True, **kwargs)
        self.momentum = momentum

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_regression``: ``2 - 2 cos``, summed over the two directions (Eq. 2); from 0 to 8."""
        self.check(views, ['global'])
        predictions, targets = unit(self.student_latents(views['global'])), unit(self.teacher_latents(views['global']))
        similarity = cosines(predictions, targets.flip(0))
        return dict(loss_regression=(2 - 2 * similarity).mean(1).sum(), positive_similarity=similarity.detach().mean())
