"""SelfPatch: patch-level representation learning for self-supervised vision transformers (Yun et al., CVPR 2022)."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.dino import DINO
from mmdssl.models.algorithms.teacher import teacher_of
from mmdssl.models.layers.class_attention import AggregationHead, similar_neighbours
from mmdssl.models.layers.projection import SeparateHeads
from mmdssl.models.losses.distillation import Center, cross_entropy
from mmdssl.registry import MODELS

# Parts of a network in the authors' checkpoints, and ours.
RELEASE = {'backbone.': 'backbone.', 'ca_head.': 'aggregation.', 'c_head.last_layer.': 'head.cls.last_layer.cls.', 'c_head.': 'head.cls.',
           'p_head.last_layer.': 'head.patch.last_layer.cls.', 'p_head.': 'head.patch.'}
RELEASED_CENTERS = dict(center='centers.cls.center', patch_center='centers.patch.center')


@MODELS.register_module()
class SelfPatch(DINO):
    """DINO, and each patch of the student predicts what the teacher makes of its most similar neighbours.

    The backbone has patches only; a head aggregates them, all to a class token, or the neighbours of each to its target.

    Views: ``global`` (two), ``local`` (any number, optional); the teacher sees all.

    Args:
        backbone: Config of the backbone, with ``class_token=False`` and ``final_norm=False``.
        head: Of the class tokens (``cls``) and of the patches (``patch``), a dict each, see
            :class:`mmdssl.models.layers.projection.DINOHead`.
        num_neighbours: Of the eight around a patch, those that are aggregated, k.
        num_blocks: Blocks of class attention that aggregate.
        patch_weight: Weight of the loss of patches, lambda.
        kwargs: As DINO's.
    """
    streams = ('cls', 'patch')

    def __init__(self, backbone: dict, head: dict, num_neighbours: int = 4, num_blocks: int = 2, patch_weight: float = 0.1, **kwargs):
        super().__init__(backbone, {'type': SeparateHeads, **head}, **kwargs)
        network = self.student.backbone
        if not hasattr(network, 'forward_tokens'):
            raise InputError('SelfPatch reads single tokens, which only a VisionTransformer has: make model.backbone one, or use a method '
                             'that reads pooled features, such as DINO')
        if getattr(network, 'cls_token', None) is not None or not isinstance(getattr(network, 'norm', nn.Identity()), nn.Identity):
            raise InputError('SelfPatch aggregates and normalises the patches itself: set class_token=False and final_norm=False of '
                             'model.backbone')
        if not 1 <= num_neighbours <= 8:
            raise InputError(f'num_neighbours={num_neighbours}, but a patch has 8 around it: set it to 1 to 8')
        self.student['aggregation'] = AggregationHead(network.embed_dim, network.num_heads, num_blocks)
        self.teacher['aggregation'] = teacher_of(self.student.aggregation)
        self.centers['patch'] = Center(self.student.head['patch'].num_prototypes, self.centers['cls'].momentum)
        self.num_neighbours = num_neighbours
        self.patch_weight = patch_weight
        self.register_load_state_dict_pre_hook(_from_release)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls`` as DINO's and ``loss_patch`` of the patches of the same view: L = L_DINO + lambda L_SelfPatch (Eq. 7)."""
        self.check(views, ['global'], ['local'])
        groups = [views[name] for name in ('global', 'local') if name in views]
        with torch.no_grad():
            tokens, features = zip(*(self.teacher_tokens(group) for group in groups))
            # the center is that of all views, but only global ones are targets
            targets = self.teacher_targets(_joined(tokens), select=dict(cls=slice(len(groups[0].images))))
            self.remember_features(features[0])
        tokens = [self.student_tokens(group) for group in groups]
        logits = self.student_logits(_joined(tokens))
        losses = cross_entropy(targets['patch'], logits['patch'], overwrite=True).split([len(group['patch']) for group in tokens])
        num_views = [len(group.images) for group in groups]
        of_patches = sum(number * loss.mean() for number, loss in zip(num_views, losses)) / sum(num_views)  # the mean over views
        return dict(self.cls_terms(targets['cls'], logits['cls']), loss_patch=self.patch_weight * of_patches)

    def student_tokens(self, group: ViewGroup) -> dict[str, Tensor]:
        """By stream, what all patches of each view make together ``(V, B, D)``, and the patches ``(V * B * N, D)``."""
        patches = self.student.backbone.forward_tokens(group.images.flatten(0, 1)).patches
        cls = self.student.aggregation(patches).squeeze(1)
        return dict(cls=cls.unflatten(0, group.images.shape[:2]), patch=self.student.aggregation.norm(patches).flatten(0, 1))

    def teacher_tokens(self, group: ViewGroup) -> tuple[dict[str, Tensor], Tensor]:
        """The same, with the neighbours of each patch in its place (Eq. 5 and 6); and image features ``(V * B, D)``."""
        images = group.images.flatten(0, 1)
        grid = self.teacher.backbone.grid_of(images)
        if min(grid) < 2:
            raise InputError(f'SelfPatch looks at the neighbours of a patch, and views of {grid[0]} x {grid[1]} patches have none: make '
                             'them larger in train_dataloader.dataset.views')
        features, patches, _ = self.teacher.backbone.forward_tokens(images)
        cls = self.teacher.aggregation(patches).squeeze(1)
        neighbours = self.teacher.aggregation(patches, similar_neighbours(patches, grid, self.num_neighbours))
        return dict(cls=cls.unflatten(0, group.images.shape[:2]), patch=neighbours.flatten(0, 1)), features


def _joined(tokens: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {stream: torch.cat([group[stream] for group in tokens]) for stream in tokens[0]}


def _from_release(algorithm: SelfPatch, state: dict, *args) -> None:
    """Translate, in place, a whole checkpoint of the authors', whose training can thus be continued with ``load_from``."""
    if not isinstance(state.get('student'), dict):
        return
    found = {}
    for role in ('student', 'teacher'):
        for name, tensor in state[role].items():
            name = name.removeprefix('module.')
            theirs = next((part for part in RELEASE if name.startswith(part)), None)
            if theirs:
                found[f'{role}.{RELEASE[theirs]}{name.removeprefix(theirs)}'] = tensor
    for theirs, ours in RELEASED_CENTERS.items():
        center = state.get('dino_loss', {}).get(theirs)
        found[ours] = algorithm.get_buffer(ours) if center is None else center.flatten()
    state.clear()
    state.update(found)
