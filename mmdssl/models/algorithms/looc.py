"""LooC and LooC++: what should not be contrastive in contrastive learning (Xiao et al., ICLR 2021)."""
from __future__ import annotations

import torch
from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.joint_embedding import unit
from mmdssl.models.algorithms.mocov2 import MoCoV2
from mmdssl.models.layers.projection import ParallelProjectors
from mmdssl.models.layers.queue import FeatureQueue
from mmdssl.models.losses.contrastive import cosines, queue_contrast
from mmdssl.registry import MODELS


@MODELS.register_module()
class LooC(MoCoV2):
    """MoCo v2 in several embedding spaces: one where no augmentation matters, and for each family of them one where only it does.

    Space 0 is invariant to all n families. In space i the query finds the key that shares its augmentation of family i; keys of
    the same image that do not are negatives, as are those of other images.

    Views: ``global`` (n + 2, of :class:`mmdssl.datasets.transforms.LeaveOneOutViews`): the query, the key that shares nothing with
    it, and one key for each family.

    Args:
        backbone: Config of the backbone.
        projector: Arguments of each space's projector.
        num_families: n.
        plus: LooC++: each projector reads a last stage of its own, of a backbone with ``branches=n + 1``.
        kwargs: Of :class:`mmdssl.models.algorithms.mocov2.MoCoV2`; each space has a queue of ``queue_size`` keys.
    """

    def __init__(self, backbone: dict, projector: dict, num_families: int = 3, plus: bool = False, queue_size: int = 65536, **kwargs):
        if plus and backbone.get('branches', 1) != num_families + 1:
            raise InputError(f'LooC with plus=True and {num_families} families needs a backbone with branches={num_families + 1}, one for '
                             f"each embedding space, and it has {backbone.get('branches', 1)}")
        projector = {'type': ParallelProjectors, 'number': num_families + 1, 'split': plus, 'activation': 'relu', **projector}
        super().__init__(backbone, projector, queue_size=queue_size, **kwargs)
        self.queue = FeatureQueue(queue_size, projector['out_dim'], number=num_families + 1)
        self.num_families = num_families

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast``: the mean over the n + 1 spaces."""
        self.check(views, ['global'])
        images = views['global'].images
        if len(images) != self.num_families + 2:
            raise InputError(f'LooC with {self.num_families} families reads {self.num_families + 2} views (a query, a key, and a key for '
                             f'each family), the data makes {len(images)}: give LeaveOneOutViews in train_dataloader.dataset.views.global_ '
                             'as many families as model.num_families')
        features = self.student.backbone.features(images[0])
        self.remember_features(features)
        query = unit(self.student.projector(features)).unbind(1)  # by space
        keys = unit(torch.stack([self.keys(view) for view in images[1:]], dim=1))  # (B, views, spaces, D)
        queues = self.queue.features.clone()
        losses = [queue_contrast(query[0], keys[:, 0, 0], queues[0], self.temperature)]
        for i in range(1, len(query)):
            others = [j for j in range(len(query)) if j != i]
            losses.append(queue_contrast(query[i], keys[:, i, i], queues[i], self.temperature, own=keys[:, others, i]))
        positives = keys.diagonal(dim1=1, dim2=2).permute(2, 0, 1)  # (spaces, B, D)
        self.queue.push(positives)
        return dict(loss_contrast=sum(losses) / len(losses),
                    positive_similarity=cosines(torch.stack(query).detach(), positives).mean())
