"""BAM: unsupervised representation learning by balanced self-attention matching (Shalam and Korman, ECCV 2024)."""
from __future__ import annotations

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmdssl.arguments import Share
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.algorithms.dino import image_features
from mmdssl.models.algorithms.teacher import follow, reset, teacher_of
from mmdssl.models.layers.projection import MLPProjector
from mmdssl.models.losses.balanced_attention import BalancedAttention
from mmdssl.registry import MODELS
from mmdssl.schedules import Temperatures, cosine, warmup_epochs


@MODELS.register_module()
class BAM(Algorithm):
    """Views of an image learn to attend to the other images of the batch alike; balanced attention is the target.

    Views: ``global`` (target views), ``local`` (any number, optional).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector, by default a :class:`mmdssl.models.layers.projection.MLPProjector`, which has batch
            normalisation only without a teacher.
        teacher: Whether a moving average of the student makes targets and keys. Without one the student makes them.
        momentum: Of the teacher, at the start; it grows to 1 along a cosine.
        target_temperature: epsilon: start, end and epochs of its linear change. Near the source temperature training collapses.
        attention: Arguments of the loss, :class:`mmdssl.models.losses.balanced_attention.BalancedAttention`.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.
    """

    def __init__(self, backbone: dict, projector: dict | None = None, teacher: bool = True, momentum: Share = 0.995,
                 target_temperature: Temperatures = (0.05, 0.05, 0), attention: dict | None = None,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        backbone = MODELS.build(backbone)
        projector = MODELS.build(
            {'type': MLPProjector, 'in_dim': backbone.embed_dim, 'norm': not teacher, **(projector or {})})
        self.student = ModuleDict(dict(backbone=backbone, projector=projector))
        self.teacher = teacher_of(self.student) if teacher else None
        self.attention = BalancedAttention(**(attention or {}))
        self.momentum = momentum
        self.target_temperature = target_temperature

    @property
    def backbone(self) -> nn.Module:
        return (self.student if self.teacher is None else self.teacher).backbone

    def init_weights(self) -> None:
        super().init_weights()
        if self.teacher is not None:
            reset(self.teacher, self.student)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_bam``, and the entropies of the paper's Fig. 3: those of source and target, and the divergence between them."""
        self.check(views, ['global'], ['local'])
        num_targets = len(views['global'].images)
        features, student = self.latents(self.student, views)
        if len(student) < 2:
            raise InputError('a view is compared with the other views of its image, but there is only one: give '
                             'train_dataloader.dataset.views.global_ two photometric recipes, or num=2')
        teacher = None
        if self.teacher is not None:
            with torch.no_grad():
                features, teacher = self.latents(self.teacher, views, self.attention.balanced_set == 'global')
        self.remember_features(features[:num_targets].flatten(0, 1))
        temperature = warmup_epochs(*self.target_temperature, self.progress)
        return self.attention(student, teacher, num_targets, temperature)

    @staticmethod
    def latents(network: nn.Module, views: Views, only_global: bool = False) -> tuple[Tensor, Tensor]:
        """Features ``(V, B, D)`` and latents of all views, global ones first; the projector runs once."""
        names = [name for name in ('global', 'local') if name in views][:1 if only_global else None]
        features = torch.cat([image_features(network.backbone, views[name]) for name in names])
        return features, network.projector(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def after_step(self) -> None:
        """The teacher, where there is one, follows the student, in time for the next iteration."""
        if self.teacher is not None:
            follow(self.teacher, self.student, cosine(self.momentum, 1., self.progress))
