"""SimCLR: a simple framework for contrastive learning of visual representations (Chen et al., ICML 2020)."""
from __future__ import annotations

from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.dino import image_features
from mmdssl.models.algorithms.joint_embedding import JointEmbedding, unit
from mmdssl.models.losses.contrastive import cosines, view_contrast
from mmdssl.registry import MODELS


@MODELS.register_module()
class SimCLR(JointEmbedding):
    """Each view of an image finds the other one among all views of all images of the batch.

    Views: ``global`` (two).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        temperature: tau.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, temperature: float = 0.1, **kwargs):
        super().__init__(backbone, projector, **kwargs)
        self.temperature = temperature

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast``: NT-Xent, the mean over all 2N views (Eq. 1; the authors' code sums the means of the two views)."""
        latents = self.latents(views)
        return dict(loss_contrast=view_contrast(latents, None, self.temperature), positive_similarity=similarity(latents))

    def latents(self, views: Views) -> Tensor:
        """Unit vectors ``(V, B, D)`` of all views, which are one batch, for batch normalisation too."""
        self.check(views, ['global'])
        features = image_features(self.student.backbone, views['global'])
        self.remember_features(features.flatten(0, 1))
        return unit(self.student.projector(features.flatten(0, 1))).unflatten(0, features.shape[:2])


def similarity(latents: Tensor) -> Tensor:
    """Mean cosine of the first two views of an image, for the log."""
    return cosines(*latents[:2].detach()).mean()
