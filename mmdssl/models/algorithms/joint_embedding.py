"""What methods share that compare projected features of whole views."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.algorithms.dino import features_of
from mmdssl.models.algorithms.teacher import follow, reset, teacher_of
from mmdssl.models.layers.projection import MLPProjector
from mmdssl.models.losses.distillation import at_least_fp32
from mmdssl.registry import MODELS
from mmdssl.schedules import cosine


class JointEmbedding(Algorithm):
    """A backbone with a projector, and where the method has them a predictor and a teacher, on pooled features.

    Views: ``global`` (two). A subclass writes :meth:`loss`, and has a ``momentum`` where it has a teacher.

    Args:
        backbone: Config of the backbone; any that has ``features``.
        projector: Arguments of the projector, by default a :class:`mmdssl.models.layers.projection.MLPProjector`.
        predictor: The same of the predictor, which the student alone has; None for none.
        teacher: Whether there is a teacher, a moving average of the student.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, projector: dict, predictor: dict | None = None, teacher: bool = False,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        backbone = MODELS.build(backbone)
        projector = {'activation': 'relu', **projector}
        width = projector.get('out_dim', 4096)
        parts = dict(backbone=backbone, projector=MODELS.build({'type': MLPProjector, 'in_dim': backbone.embed_dim, **projector}))
        self.teacher = teacher_of(ModuleDict(parts)) if teacher else None
        if predictor is not None:
            parts['predictor'] = MODELS.build(
                {'type': MLPProjector, 'in_dim': width, 'out_dim': width, 'activation': 'relu', **predictor})
        self.student = ModuleDict(parts)

    @property
    def backbone(self) -> nn.Module:
        """The student's: what these methods' authors evaluate."""
        return self.student.backbone

    def init_weights(self) -> None:
        super().init_weights()
        if self.teacher is not None:
            reset(self.teacher, self.student)

    def student_latents(self, group: ViewGroup) -> Tensor:
        """Of each view by itself ``(V, B, D)``, as batch normalisation sees them; through the predictor, where there is one."""
        features = [features_of(self.student.backbone, images) for images in group.images]
        self.remember_features(features[0])
        latents = [self.student.projector(view) for view in features]
        return torch.stack([self.student.predictor(view) for view in latents] if 'predictor' in self.student else latents)

    @torch.no_grad()
    def teacher_latents(self, group: ViewGroup) -> Tensor:
        """The same of the teacher, without a predictor."""
        return torch.stack([self.teacher.projector(features_of(self.teacher.backbone, images)) for images in group.images])

    def momentum_now(self) -> float:
        """Of the teacher, in the step that was just taken: from ``momentum`` to 1 along a cosine, unless a method says otherwise."""
        return cosine(self.momentum, 1., self.progress)

    def after_step(self) -> None:
        """The teacher, where there is one, follows the student."""
        if self.teacher is not None:
            follow(self.teacher, self.student, self.momentum_now())


def unit(latents: Tensor) -> Tensor:
    """L2-normalised along the last dimension, in fp32 or better."""
    return F.normalize(at_least_fp32(latents), dim=-1)
