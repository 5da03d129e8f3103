"""MoCo v3: an empirical study of training self-supervised vision transformers (Chen et al., ICCV 2021)."""
from __future__ import annotations

from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.joint_embedding import JointEmbedding, unit
from mmdssl.models.losses.contrastive import batch_contrast, cosines
from mmdssl.registry import MODELS
from mmdssl.schedules import cosine


@MODELS.register_module()
class MoCoV3(JointEmbedding):
    """Each view of an image finds the teacher's key of the other view among those of all images of the batch.

    Views: ``global`` (two).

    Args:
        backbone: Config of the backbone; a transformer has sin-cos positions and a frozen patch projection.
        projector: Arguments of the projector.
        predictor: The same of the predictor.
        temperature: T.
        momentum: Of the teacher, at the start; it grows to 1 along a cosine.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, predictor: dict, temperature: float = 0.2, momentum: float = 0.99, **kwargs):
        super().__init__(backbone, projector, predictor, teacher=True, **kwargs)
        self.temperature = temperature
        self.momentum = momentum

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast``: ctr(q1, k2) + ctr(q2, k1), each scaled by 2T (Algorithm 1)."""
        self.check(views, ['global'])
        queries, keys = unit(self.student_latents(views['global'])), unit(self.teacher_latents(views['global']))
        terms = [2 * self.temperature * batch_contrast(query, key, self.temperature) for query, key in zip(queries, keys.flip(0))]
        similarity = cosines(queries.detach(), keys.flip(0)).mean()
        return dict(loss_contrast=sum(terms), positive_similarity=similarity)

    def momentum_now(self) -> float:
        """The authors move the teacher at the start of the next iteration, by the momentum of that one."""
        return cosine(self.momentum, 1., self.progress._replace(iteration=self.progress.iteration + 1))
