"""DINO: self-distillation with no labels (Caron et al., ICCV 2021)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.model import ModuleDict
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmdssl.arguments import NonNegative, Positive, Share
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.algorithms.teacher import follow, reset, teacher_of
from mmdssl.models.layers.projection import DINOHead
from mmdssl.models.losses.distillation import Center, cross_view
from mmdssl.registry import MODELS
from mmdssl.schedules import Temperatures, cosine, epochs_done, warmup_epochs


@MODELS.register_module()
class DINO(Algorithm):
    """A student learns to give each view of an image the distribution over prototypes that a teacher gives another view.

    Views: ``global`` (two), for both networks; ``local`` (any number, optional), for the student.

    Args:
        backbone: Config of the backbone.
        head: Config of the head, by default a :class:`mmdssl.models.layers.projection.DINOHead`.
        momentum: Of the teacher, at the start; it grows to 1 along a cosine.
        teacher_temperature: Start, end and epochs of its linear warm-up; a dict has them for each stream of tokens by name, as
            iBOT's ``dict(cls=(0.04, 0.04, 0), patch=(0.04, 0.07, 30))``.
        student_temperature: Constant.
        center_momentum: Of the running mean of the teacher's logits.
        freeze_last_layer: Epochs during which the prototypes do not move.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.
    """
    streams: Sequence[str] = ('cls', )

    def __init__(self, backbone: dict, head: dict, momentum: Share = 0.996,
                 teacher_temperature: Temperatures | Mapping[str, Temperatures] = (0.04, 0.07, 30),
                 student_temperature: Positive = 0.1, center_momentum: Share = 0.9, freeze_last_layer: NonNegative = 1,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        backbone = MODELS.build(backbone)
        head = MODELS.build({'type': DINOHead, 'in_dim': backbone.embed_dim, **head})
        self.student = ModuleDict(dict(backbone=backbone, head=head))
        self.teacher = teacher_of(self.student)
        self.num_prototypes = self.student.head.num_prototypes
        self.centers = nn.ModuleDict(
            {stream: Center(self.num_prototypes, center_momentum) for stream in self.streams})
        self.momentum = momentum
        if isinstance(teacher_temperature, Mapping) and set(teacher_temperature) != set(self.streams):
            raise InputError(f'teacher_temperature is of {", ".join(teacher_temperature)}, and {type(self).__name__} has the streams '
                             f'{", ".join(self.streams)}: give (start, end, epochs) for each of them, or once for all')
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.freeze_last_layer = freeze_last_layer

    @property
    def backbone(self) -> nn.Module:
        return self.teacher.backbone

    def init_weights(self) -> None:
        super().init_weights()
        reset(self.teacher, self.student)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls``: cross-entropy between the class tokens of different views (Eq. 3)."""
        self.check(views, ['global'], ['local'])
        with torch.no_grad():
            targets = self.teacher_targets(dict(cls=image_features(self.teacher.backbone, views['global'])))
        logits = self.student_logits(dict(cls=torch.cat(
            [image_features(self.student.backbone, views[name]) for name in ('global', 'local') if name in views])))
        return self.cls_terms(targets['cls'], logits['cls'])

    def cls_terms(self, target: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """The loss on class tokens, and its two parts that tell how collapse comes: ``loss = entropy + kl``."""
        if len(logits) < 2:
            raise InputError('a view is compared with the other views of its image, but there is only one: give '
                             'train_dataloader.dataset.views.global_ two photometric recipes, or num=2')
        loss = cross_view(target, logits, overwrite=True)
        entropy = torch.special.entr(target).sum(-1).mean()
        return dict(loss_cls=loss, entropy=entropy, kl=loss.detach() - entropy)

    def student_logits(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens ``(..., D)`` by stream to logits ``(..., K)`` over the student's temperature."""
        bottleneck = self.student.head.project_streams(tokens)
        with parametrize.cached():
            return {stream: self.student.head.score(z / self.student_temperature, stream)
                    for stream, z in bottleneck.items()}

    def teacher_targets(self, tokens: dict[str, Tensor], select: dict[str, Tensor | slice] | None = None) -> dict[str, Tensor]:
        """Tokens ``(..., D)`` by stream to centred and sharpened distributions; afterwards the centers move.

        Args:
            tokens: By stream.
            select: Rows that a stream's loss needs, where it does not need all: only they are scored, but the center sees the
                mean of all. The prototypes are linear, so that mean costs one row.
        """
        self.remember_features(tokens['cls'].flatten(0, -2))
        bottleneck = self.teacher.head.project_streams(tokens)
        targets, means = {}, {}
        with parametrize.cached():
            for stream, z in bottleneck.items():
                mean = z.flatten(0, -2).mean(0)
                all_reduce(mean, 'mean')
                if select and stream in select:
                    z = z[select[stream]]
                center = self.center_of(stream)
                targets[stream] = center(self.teacher.head.score(z, stream), self.temperature_of(stream))
                if stream in self.centers:
                    means[stream] = self.teacher.head.score(mean, stream)
        for stream, center in self.centers.items():
            center.update(means[stream])
        return targets

    def temperature_of(self, stream: str) -> float:
        """The teacher's, of a token stream."""
        given = self.teacher_temperature
        return warmup_epochs(*(given[stream] if isinstance(given, Mapping) else given), self.progress)

    def center_of(self, stream: str) -> Center:
        """The center of a token stream; a stream without its own uses the class tokens'."""
        return self.centers[stream if stream in self.centers else 'cls']

    def after_step(self) -> None:
        """The teacher follows the student."""
        follow(self.teacher, self.student, cosine(self.momentum, 1., self.progress))

    def frozen_parameters(self) -> list[nn.Parameter]:
        if epochs_done(self.progress, self.freeze_last_layer) >= self.freeze_last_layer:
            return []
        return [parameter for parameter in self.student.head.last_layer.parameters() if parameter.requires_grad]


def image_features(backbone: nn.Module, group: ViewGroup) -> Tensor:
    """Features ``(V, B, D)`` of the crops of a group, in one forward."""
    return features_of(backbone, group.images.flatten(0, 1)).unflatten(0, group.images.shape[:2])


def features_of(backbone: nn.Module, images: Tensor) -> Tensor:
    """Features ``(B, D)``, without computing what they do not read where the backbone can do without."""
    return getattr(backbone, 'features_alone', backbone.features)(images)
