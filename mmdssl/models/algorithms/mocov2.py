"""MoCo v2: momentum contrast with a queue (He et al., CVPR 2020; Chen et al., 2020)."""
from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.dist import all_gather, broadcast, get_dist_info
from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.models.algorithms.joint_embedding import JointEmbedding, unit
from mmdssl.models.layers.queue import FeatureQueue
from mmdssl.models.losses.contrastive import cosines, queue_contrast
from mmdssl.registry import MODELS


@MODELS.register_module()
class MoCoV2(JointEmbedding):
    """The first view of an image finds the teacher's key of its second view among those of many earlier images.

    The teacher's batches are shuffled over processes, so that its batch normalisation tells nobody which keys belong to which
    queries. In one process that does nothing, and batch normalisation can betray the pairs.

    Views: ``global`` (two: query and key).

    Args:
        backbone: Config of the backbone.
        projector: Arguments of the projector.
        queue_size: Keys that serve as negatives.
        temperature: T.
        momentum: Of the teacher, constant.
        kwargs: Of :class:`mmdssl.models.algorithms.joint_embedding.JointEmbedding`.
    """

    def __init__(self, backbone: dict, projector: dict, queue_size: int = 65536, temperature: float = 0.2,
                 momentum: float = 0.999, **kwargs):
        super().__init__(backbone, projector, teacher=True, **kwargs)
        self.queue = FeatureQueue(queue_size, projector['out_dim'])
        self.temperature = temperature
        self.momentum = momentum

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast``: InfoNCE with the keys of earlier steps as negatives (Eq. 1)."""
        self.check(views, ['global'])
        query_images, key_images = views['global'].images
        features = self.student.backbone.features(query_images)
        self.remember_features(features)
        query = unit(self.student.projector(features))
        key = unit(self.keys(key_images))
        loss = queue_contrast(query, key, self.queue.features.clone(), self.temperature)
        self.queue.push(key)
        return dict(loss_contrast=loss, positive_similarity=cosines(query, key).detach().mean())

    def keys(self, images: Tensor) -> Tensor:
        """The teacher's latents ``(B, D)`` of images that were normalised in a batch of others."""
        keys, = in_shuffled_batches(lambda batch: (self.teacher.projector(self.teacher.backbone.features(batch)), ), images)
        return keys

    def momentum_now(self) -> float:
        return self.momentum


@torch.no_grad()
def in_shuffled_batches(network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> tuple[Tensor, ...]:
    """Outputs ``(B, ...)`` of a network for images ``(B, ...)`` that it gets in batches mixed over the processes."""
    rank, world = get_dist_info()
    if world == 1:
        return network(images)
    order = torch.randperm(world * len(images), device=images.device)
    broadcast(order)
    mine = slice(rank * len(images), (rank + 1) * len(images))
    outputs = network(torch.cat(all_gather(images.contiguous()))[order[mine]])
    return tuple(torch.cat(all_gather(output.contiguous()))[order.argsort()[mine]] for output in outputs)
