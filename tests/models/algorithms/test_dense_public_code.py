"""SelfPatch and DenseCL against the authors' public code: neighbours, matches, outputs, losses, gradients, centers, queues."""
from __future__ import annotations

import math
import re

import pytest
import torch
from golden_files import GOLDEN, Golden, difference
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import Tensor, nn

from mmdssl.checkpoint.files import read_checkpoint
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.algorithms.densecl import most_alike
from mmdssl.models.algorithms.joint_embedding import unit
from mmdssl.models.backbones.vision_transformer import Tokens
from mmdssl.models.layers.class_attention import similar_neighbours
from mmdssl.registry import MODELS

SELFPATCH, DENSECL = (Golden(f'family/{name}') for name in ('selfpatch_loss', 'densecl_step'))
GROUPS = {'global': (14, 14), 'local': (6, 6)}
SELFPATCH_PARTS = {'ca_head': 'aggregation', 'c_head': 'head.cls', 'p_head': 'head.patch'}
LAST_LAYER = {'last_layer.weight_g': 'last_layer.cls.parametrizations.weight.original0',
              'last_layer.weight_v': 'last_layer.cls.parametrizations.weight.original1'}


@MODELS.register_module()
class Given(nn.Module):
    """No network: the images are its output, tokens ``(B, N, D)`` of a square image, or maps ``(B, C, h, w)``."""

    def __init__(self, embed_dim: int, num_heads: int = 1):
        super().__init__()
        self.embed_dim = self.map_dim = embed_dim
        self.num_heads = num_heads

    def forward_tokens(self, images: Tensor) -> Tokens:
        return Tokens(images.mean(1), images, images[:, :0])

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        return (math.isqrt(images.shape[1]), ) * 2

    def features(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def features_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.features(images), images


def views(**groups: Tensor) -> Views:
    groups = {name.strip('_'): ViewGroup(images, torch.zeros(0), torch.zeros(0)) for name, images in groups.items()}
    return Views(groups, torch.arange(groups['global'].images.shape[1]))


def ours(name: str) -> str:
    """Our name of a parameter of SelfPatch's release."""
    part, _, rest = name.partition('.')
    return f'{SELFPATCH_PARTS[part]}.{LAST_LAYER.get(rest, rest)}'


@pytest.fixture
def selfpatch():
    config = SELFPATCH.config
    sizes = dict(hidden_dim=config['head']['hidden_dim'], bottleneck_dim=config['head']['bottleneck_dim'], norm_last_layer=True)
    algorithm = MODELS.build(dict(
        type='mmdssl.SelfPatch', backbone=dict(type='Given', embed_dim=config['embed_dim'], num_heads=config['num_heads']),
        head={stream: dict(sizes, num_prototypes=number) for stream, number in config['prototypes'].items()},
        num_neighbours=config['k_num'], num_blocks=config['blocks'], patch_weight=config['patch_weight'],
        teacher_temperature=(config['teacher_temperature'], config['teacher_temperature'], 0),
        student_temperature=config['student_temperature'], center_momentum=config['center_momentum']))
    for role in ('student', 'teacher'):
        state = {ours(name): tensor for name, tensor in SELFPATCH.under(f'{role}.').items() if name.partition('.')[0] in SELFPATCH_PARTS}
        getattr(algorithm, role).load_state_dict(state)
    for stream, center in algorithm.centers.items():
        center.center.copy_(SELFPATCH[f'center.before.{stream}'])
    return algorithm


@pytest.mark.parametrize('group', GROUPS)
def test_neighbours_of_selfpatch(group):
    expected = SELFPATCH[f'neighbours.{group}'].flatten(0, 1).long()
    found = similar_neighbours(SELFPATCH[f'teacher.tokens.{group}'].flatten(0, 1), GROUPS[group], SELFPATCH.config['k_num'])
    assert torch.equal(found.sort().values, expected.sort().values)


@pytest.mark.parametrize('group', GROUPS)
def test_outputs_of_the_heads_of_selfpatch(selfpatch, group):
    images = SELFPATCH[f'teacher.tokens.{group}']
    tokens, _ = selfpatch.teacher_tokens(views(global_=images)['global'])
    expected = SELFPATCH[f'teacher.output.{group}']
    assert difference(tokens['cls'], expected[:, :, 0]) < 1e-5
    assert difference(tokens['patch'], expected[:, :, 1:].flatten(0, 2)) < 1e-5
    images = SELFPATCH[f'student.tokens.{group}']
    tokens = selfpatch.student_tokens(views(global_=images)['global'])
    assert difference(tokens['cls'], SELFPATCH[f'student.output_cls.{group}']) < 1e-5
    assert torch.equal(tokens['patch'], selfpatch.student.aggregation.norm(images).flatten(0, 2))


def test_loss_gradients_and_centers_of_selfpatch(selfpatch):
    inputs = {role: {name: SELFPATCH[f'{role}.tokens.{name}'].clone().requires_grad_() for name in GROUPS}
              for role in ('student', 'teacher')}
    # the two backbones give different tokens for the same images
    given = selfpatch.teacher.backbone.forward_tokens
    queue = [inputs['teacher'][name].flatten(0, 1) for name in GROUPS]
    selfpatch.teacher.backbone.forward_tokens = lambda images: given(queue.pop(0))
    values = selfpatch.loss(views(global_=inputs['student']['global'], local=inputs['student']['local']))
    loss, _ = selfpatch.parse_losses(values)
    assert difference(loss, SELFPATCH['loss']) < 2e-6
    assert difference(values['loss_cls'], SELFPATCH['loss.cls']) < 2e-6
    assert difference(values['loss_patch'], SELFPATCH.config['patch_weight'] * SELFPATCH['loss.patch']) < 2e-6
    loss.backward()
    expected = {ours(name): gradient for name, gradient in SELFPATCH.under('grad.').items() if not name.startswith('tokens')}
    found = {name: p.grad for name, p in selfpatch.student.named_parameters() if p.requires_grad}
    found |= {name: images.grad for name, images in inputs['student'].items()}
    expected |= SELFPATCH.under('grad.tokens.')
    assert set(found) == set(expected)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():  # that of k.bias is rounding
        assert (found[name] - gradient).abs().max() < 1e-5 * largest, name
    for stream, center in selfpatch.centers.items():
        assert difference(center.center, SELFPATCH[f'center.after.{stream}']) < 1e-6


def test_a_checkpoint_of_selfpatch_continues_here():
    """All of it, strictly: both networks, both heads and, as far as the file has them, the centers."""
    file = read_checkpoint(GOLDEN / 'checkpoints/selfpatch_full.pth')
    head = dict(num_prototypes=16, hidden_dim=16, bottleneck_dim=8, norm_last_layer=True)
    backbone = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=64, depth=2, num_heads=1), patch_size=4, img_size=24,
                    mlp_ratio=0.5, class_token=False, final_norm=False)
    algorithm = MODELS.build(dict(type='mmdssl.SelfPatch', backbone=backbone, head=dict(cls=head, patch=head), num_blocks=0))
    _load_checkpoint_to_model(algorithm, file, strict=True)  # as the runner does with load_from
    for role, prefix in (('student', 'module.'), ('teacher', '')):
        names = 0
        for name, tensor in getattr(algorithm, role).state_dict().items():
            name = name.replace('aggregation.', 'ca_head.').replace('head.cls.', 'c_head.').replace('head.patch.', 'p_head.')
            name = re.sub(r'last_layer.cls.parametrizations.weight.original(\d)', lambda m: f'last_layer.weight_{"gv"[int(m[1])]}', name)
            assert torch.equal(tensor, file[role][prefix + name])
            names += 1
        assert names == len(file[role])
    assert torch.equal(algorithm.centers['cls'].center, file['dino_loss']['center'][0])
    file['dino_loss'] = dict(center=torch.ones(1, 1, 16), patch_center=torch.full((1, 16), 2.))
    algorithm.load_state_dict(dict(file))
    assert algorithm.centers['cls'].center.eq(1).all() and algorithm.centers['patch'].center.eq(2).all()
    algorithm.load_state_dict(algorithm.state_dict())


@pytest.fixture
def densecl():
    config = DENSECL.config
    algorithm = MODELS.build(dict(
        type='mmdssl.DenseCL', backbone=dict(type='Given', embed_dim=config['channels']), queue_size=config['queue'],
        projector=dict(hidden_dim=config['hidden'], out_dim=config['dim'], num_layers=2), dense_weight=config['loss_lambda'],
        momentum=config['momentum'], temperature=config['temperature']))
    for network, role in ((algorithm.student, 'q'), (algorithm.teacher, 'k')):
        for part, name in (('projector', 'mlp'), ('dense_projector', 'mlp2')):
            state = DENSECL.under(f'before.neck_{role}.{name}.')
            network[part].load_state_dict({key: tensor.flatten(1) if tensor.ndim > 1 else tensor for key, tensor in state.items()})
    for queue, name in ((algorithm.queue, 'queue'), (algorithm.dense_queue, 'queue2')):
        queue.features.copy_(DENSECL[f'{name}.before'].T)
        queue.set_extra_state(DENSECL[f'{name.replace("queue", "pointer")}.before'])
    algorithm.after_step()  # theirs moves the key network at the start of an iteration, ours at the end of the one before
    return algorithm


def test_matches_of_densecl(densecl):
    cells = [densecl.look(densecl.backbone, DENSECL[f'features.{role}'])[1] for role in ('query', 'key')]
    assert torch.equal(most_alike(*cells)[0], DENSECL['matches'])


def test_keys_of_densecl(densecl):
    for name, tensor in DENSECL.under('after.neck_k.').items():
        found = densecl.teacher.state_dict()[name.replace('mlp2', 'dense_projector').replace('mlp', 'projector')]
        assert difference(found, tensor.flatten(1) if tensor.ndim > 1 else tensor) < 1e-6
    key, dense, _ = densecl.encode_keys(DENSECL['features.key'])
    assert difference(key, DENSECL['key.global']) < 1e-5
    assert difference(dense.transpose(1, 2), DENSECL['key.dense']) < 1e-5
    assert difference(dense.mean(1), DENSECL['key.pooled']) < 1e-5


def test_step_of_densecl(densecl):
    query = DENSECL['features.query'].clone().requires_grad_()
    values = densecl.loss(views(global_=torch.stack([query, DENSECL['features.key']])))
    loss, _ = densecl.parse_losses(values)
    assert difference(loss, DENSECL['loss']) < 2e-6
    weight = DENSECL.config['loss_lambda']
    assert difference(values['loss_contrast'], (1 - weight) * DENSECL['loss.single']) < 2e-6
    assert difference(values['loss_dense'], weight * DENSECL['loss.dense']) < 2e-6
    loss.backward()
    found = {name: p.grad for name, p in densecl.student.named_parameters()} | {'features.query': query.grad}
    expected = {name.removeprefix('neck.').replace('mlp2', 'dense_projector').replace('mlp', 'projector'): gradient
                for name, gradient in DENSECL.under('grad.').items() if not name.startswith('query.')}
    assert set(found) == set(expected)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient.view_as(found[name])).abs().max() < 1e-5 * largest, name
    for queue, name in ((densecl.queue, 'queue'), (densecl.dense_queue, 'queue2')):
        assert difference(queue.features.T, DENSECL[f'{name}.after']) < 1e-6
        assert queue.get_extra_state() % len(queue.features) == DENSECL[f'{name.replace("queue", "pointer")}.after']


def test_queries_of_densecl_are_projected_cells(densecl):
    features, cells = densecl.look(densecl.student.backbone, DENSECL['features.query'])
    assert difference(unit(densecl.student.projector(features)), unit(DENSECL['query.global'])) < 1e-5
    projected = densecl.of_cells(densecl.student.dense_projector, cells)
    assert difference(unit(projected), unit(DENSECL['query.dense'].transpose(1, 2))) < 1e-5
