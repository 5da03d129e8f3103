"""SwAV: unsupervised learning of visual features by contrasting cluster assignments (Caron et al., NeurIPS 2020)."""
from __future__ import annotations

import torch
from mmengine.dist import get_dist_info
from torch import Tensor, nn

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.dino import image_features
from mmdssl.models.algorithms.joint_embedding import JointEmbedding, unit
from mmdssl.models.layers.queue import FeatureQueue
from mmdssl.models.losses.distillation import at_least_fp32, cross_view
from mmdssl.models.losses.sinkhorn import sinkhorn
from mmdssl.registry import MODELS


@MODELS.register_module()
class SwAV(JointEmbedding):
    """Each view of an image predicts to which prototypes the other views were assigned, so that all are used equally.

    Views: ``global`` (two, which are assigned), ``local`` (any number, optional).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        num_prototypes: K.
        temperature: tau of the predictions.
        epsilon: Of Sinkhorn's assignments.
        iterations: Of Sinkhorn.
        queue_size: Earlier latents of each assigned view, of all processes together, that are assigned along with a small batch;
            0 for none.
        queue_begin: Epoch from which on the queue is filled; it is used once it is full.
        freeze_prototypes: Iterations during which the prototypes do not move.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """
    writes_weights = True  # prototypes, back to length 1

    def __init__(self, backbone: dict, projector: dict, num_prototypes: int = 3000, temperature: float = 0.1, epsilon: float = 0.05,
                 iterations: int = 3, queue_size: int = 0, queue_begin: int = 15, freeze_prototypes: int = 313, **kwargs):
        super().__init__(backbone, projector, **kwargs)
        width = projector['out_dim']
        self.student['prototypes'] = nn.Linear(width, num_prototypes, bias=False)
        self.queue = FeatureQueue(queue_size, width, number=2) if queue_size else None
        self.num_prototypes = num_prototypes
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.queue_begin = queue_begin
        self.freeze_prototypes = freeze_prototypes

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_swap``: the codes of a view predicted from the others (Eq. 1 and 2)."""
        self.check(views, ['global'], ['local'])
        features = [image_features(self.student.backbone, views[name]) for name in ('global', 'local') if name in views]
        num_views = [len(group) for group in features]
        features = torch.cat([group.flatten(0, 1) for group in features])
        latents = unit(self.student.projector(features)).unflatten(0, (sum(num_views), -1))
        self.remember_features(features[:num_views[0] * latents.shape[1]])
        self.normalise_prototypes()
        scores = at_least_fp32(self.student.prototypes(latents))
        codes = self.codes(scores[:2].detach(), latents[:2].detach())
        loss = cross_view(codes, scores / self.temperature)
        entropy = torch.special.entr(codes).sum(-1).mean()
        return dict(loss_swap=loss, code_entropy=entropy, kl=loss.detach() - entropy)

    @torch.no_grad()
    def normalise_prototypes(self) -> None:
        """Put the prototypes back on the unit sphere; the gradient does not pass through this."""
        weight = self.student.prototypes.weight
        weight.copy_(unit(weight))

    @torch.no_grad()
    def codes(self, scores: Tensor, latents: Tensor) -> Tensor:
        """Assignments ``(2, B, K)`` of the two views with ``scores``; with a full queue, its latents are assigned as well."""
        use = self.queue is not None and self.queue.full
        rank, world = get_dist_info()
        codes = []
        for view, batch in enumerate(scores):
            if use:  # each process brings a share of the queue
                earlier = at_least_fp32(self.student.prototypes(self.queue.features[view, rank::world]))
                batch = torch.cat([earlier, batch])
            codes.append(sinkhorn(batch, self.epsilon, self.iterations)[-scores.shape[1]:])
        if self.queue is not None and self.progress.epoch >= self.queue_begin:
            self.queue.push(latents)
        return torch.stack(codes)

    def frozen_parameters(self) -> list[nn.Parameter]:
        return [self.student.prototypes.weight] if self.progress.iteration < self.freeze_prototypes else []
