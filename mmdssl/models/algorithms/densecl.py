"""DenseCL: dense contrastive learning for self-supervised visual pre-training (Wang et al., CVPR 2021)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.joint_embedding import unit
from mmdssl.models.algorithms.mocov2 import MoCoV2, in_shuffled_batches
from mmdssl.models.algorithms.teacher import teacher_of
from mmdssl.models.layers.projection import MLPProjector
from mmdssl.models.layers.queue import FeatureQueue
from mmdssl.models.losses.contrastive import cosines, queue_contrast
from mmdssl.models.losses.distillation import full_precision
from mmdssl.registry import MODELS

MATCHINGS = ('backbone', 'dense', 'random')


@MODELS.register_module()
class DenseCL(MoCoV2):
    """MoCo v2, and each cell of the first view finds its key in the second one, too, among those of many earlier images.

    Which of the second view's cells that is, the features of the backbone decide. A cell is a place of the backbone's last map.

    Views: ``global`` (two: query and key).

    Args:
        backbone: Config of the backbone; any that has ``features_and_map``.
        projector: Arguments of the projector of pooled features.
        dense_projector: The same of the projector of cells, in which a linear layer is a convolution of 1x1; None for as
            ``projector``.
        grid: S: the map is averaged to S x S cells; None for the cells of the map.
        matching: What is compared to find a cell's key: ``'backbone'``, the map; ``'dense'``, the projected cells; or nothing,
            ``'random'``.
        dense_weight: Weight of the loss of cells, lambda; the loss of images has the rest of 1.
        dense_warmup: Iterations during which lambda is 0 (the authors, for lambda = 1: 1000).
        queue_size: Keys that serve as negatives, of images and of cells each.
        kwargs: As MoCo v2's.
    """

    def __init__(self, backbone: dict, projector: dict, dense_projector: dict | None = None, grid: int | None = None,
                 matching: str = 'backbone', dense_weight: float = 0.5, dense_warmup: int = 0, queue_size: int = 65536, **kwargs):
        super().__init__(backbone, projector, queue_size, **kwargs)
        if matching not in MATCHINGS:
            raise InputError(f'matching is one of {", ".join(MATCHINGS)}, got {matching!r}')
        if not 0 <= dense_weight <= 1:
            raise InputError(f'dense_weight={dense_weight} is a share of the loss: set it to a number from 0 to 1')
        if not hasattr(self.backbone, 'features_and_map'):
            raise InputError(f'DenseCL compares places of an image, and a {type(self.backbone).__name__} does not tell them apart: make '
                             'model.backbone a TimmBackbone or a VisionTransformer')
        dense_projector = {'activation': 'relu', **(dense_projector or projector)}
        self.student['dense_projector'] = MODELS.build({'type': MLPProjector, 'in_dim': self.backbone.map_dim, **dense_projector})
        self.teacher['dense_projector'] = teacher_of(self.student.dense_projector)
        self.dense_queue = FeatureQueue(queue_size, dense_projector['out_dim'])
        self.grid = grid
        self.matching = matching
        self.dense_weight = dense_weight
        self.dense_warmup = dense_warmup

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_contrast`` and ``loss_dense``: L = (1 - lambda) L_q + lambda L_r (Eq. 4), each InfoNCE with a queue (Eq. 1 and 2)."""
        self.check(views, ['global'])
        query_images, key_images = views['global'].images
        features, cells = self.look(self.student.backbone, query_images)
        self.remember_features(features)
        query, dense_query = unit(self.student.projector(features)), unit(self.of_cells(self.student.dense_projector, cells))
        key, projected, key_cells = in_shuffled_batches(self.encode_keys, key_images)
        key, dense_key, pooled_key = unit(key), unit(projected), unit(projected.mean(1))
        match = self.match(cells, dense_query, key_cells, dense_key)
        positive = dense_key.gather(1, match[..., None].expand_as(dense_query))
        weight = 0. if self.progress.iteration < self.dense_warmup else self.dense_weight
        of_images = queue_contrast(query, key, self.queue.features.clone(), self.temperature)
        of_cells = queue_contrast(dense_query, positive, self.dense_queue.features.clone(), self.temperature)
        self.queue.push(key)
        self.dense_queue.push(pooled_key)
        return dict(loss_contrast=(1 - weight) * of_images, loss_dense=weight * of_cells,
                    positive_similarity=cosines(query, key).detach().mean(),
                    dense_similarity=cosines(dense_query, positive).detach().mean())

    def look(self, backbone: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features ``(B, D)`` and cells ``(B, S^2, C)``, row-major."""
        features, maps = backbone.features_and_map(images)
        if self.grid is not None:
            maps = F.adaptive_avg_pool2d(maps, self.grid)
        return features, maps.flatten(2).transpose(1, 2)

    @staticmethod
    def of_cells(projector: torch.nn.Module, cells: Tensor) -> Tensor:
        """A projector of rows on cells ``(B, S^2, C)``."""
        return projector(cells.flatten(0, 1)).unflatten(0, cells.shape[:2])

    def encode_keys(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's latents of images ``(B, D)`` and of their cells ``(B, S^2, D)``, and the cells ``(B, S^2, C)``."""
        features, cells = self.look(self.teacher.backbone, images)
        return self.teacher.projector(features), self.of_cells(self.teacher.dense_projector, cells), cells

    def match(self, cells: Tensor, dense_query: Tensor, key_cells: Tensor, dense_key: Tensor) -> Tensor:
        """For each cell of the queries the cell of its image's key, ``(B, S^2)`` (Eq. 3)."""
        if self.matching == 'random':
            return torch.randint(key_cells.shape[1], cells.shape[:2], device=cells.device)
        pairs = (cells, key_cells) if self.matching == 'backbone' else (dense_query, dense_key)
        return most_alike(*pairs)[0]


@torch.no_grad()
@full_precision
def most_alike(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """For each of the vectors ``(B, n, D)`` the one of ``(B, m, D)`` with the largest cosine, and that cosine, ``(B, n)`` each."""
    similarity, match = (unit(query) @ unit(key).transpose(1, 2)).max(2)
    return match, similarity
