"""Contrastive methods against the authors' public code: losses, gradients, queues, codes, statistics, momentum."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_files import Golden, difference
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.algorithms.joint_embedding import unit
from mmdssl.models.losses.contrastive import batch_contrast
from mmdssl.models.losses.sinkhorn import sinkhorn
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress, cosine

MOCOV3, MOCOV2, SWAV = (Golden(f'family/{name}') for name in ('mocov3', 'mocov2_step', 'swav_loss'))
PREDICTORS = dict(vit='plain', resnet=None)
LAYERS = dict(vit=(3, 'head'), resnet=(2, 'fc'))


@MODELS.register_module()
class Vectors(nn.Module):
    """No network: the features are the images, vectors ``(B, D)``."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.embed_dim = embed_dim

    def features(self, images: Tensor) -> Tensor:
        return images


def views(*vectors: Tensor) -> Views:
    images = torch.stack(vectors)
    groups = {'global': ViewGroup(images[:2], torch.zeros(0), torch.zeros(0))}
    if len(images) > 2:
        groups['local'] = ViewGroup(images[2:], torch.zeros(0), torch.zeros(0))
    return Views(groups, torch.arange(images.shape[1]))


@pytest.mark.parametrize('temperature', MOCOV3.config['temperatures'])
def test_contrast_of_mocov3(temperature):
    q1, q2 = (MOCOV3[name].clone().requires_grad_() for name in ('q1', 'q2'))
    terms = [2 * temperature * batch_contrast(unit(q), unit(MOCOV3[k]), temperature) for q, k in ((q1, 'k2'), (q2, 'k1'))]
    for term, name in zip(terms, ('q1k2', 'q2k1')):
        assert difference(term, MOCOV3[f'T{temperature}.loss.{name}']) < 2e-6
    sum(terms).backward()
    for query, name in ((q1, 'q1'), (q2, 'q2')):
        assert difference(query.grad, MOCOV3[f'T{temperature}.grad.{name}']) < 1e-5


@pytest.mark.parametrize('kind', LAYERS)
def test_step_of_mocov3(kind):
    config, (layers, name) = MOCOV3.config['step'], LAYERS[kind]
    sizes = dict(hidden_dim=config['mlp_dim'], norm=True, bias=False)
    algorithm = MODELS.build(dict(
        type='mmdssl.MoCoV3', backbone=dict(type='Vectors', embed_dim=12), temperature=config['temperature'], momentum=config['momentum'],
        projector=dict(sizes, out_dim=config['dim'], num_layers=layers),
        predictor=dict(sizes, num_layers=2, last_norm=PREDICTORS[kind]))).train()
    before = f'{kind}.before.'
    parts = {f'base_encoder.{name}.': algorithm.student.projector, f'momentum_encoder.{name}.': algorithm.teacher.projector,
             'predictor.': algorithm.student.predictor}
    for prefix, part in parts.items():
        missing, unexpected = part.load_state_dict(MOCOV3.under(before + prefix), strict=False)
        assert not unexpected and all('running' in key or 'num_batches' in key for key in missing)
    algorithm.momentum_now = lambda: config['momentum']
    algorithm.after_step()  # theirs moves the key network at the start of an iteration, ours at the end of the one before
    loss, _ = algorithm.parse_losses(algorithm.loss(views(MOCOV3['x1'], MOCOV3['x2'])))
    assert difference(loss, MOCOV3[f'{kind}.loss']) < 2e-6
    loss.backward()
    for prefix, part in parts.items():
        for key, expected in MOCOV3.under(f'{kind}.grad.{prefix}').items():
            assert difference(part.get_parameter(key).grad, expected) < 1e-5
        for key, expected in MOCOV3.under(f'{kind}.after.{prefix}').items():
            torch.testing.assert_close(part.state_dict()[key], expected, rtol=1e-5, atol=2e-6)


def test_momentum_of_mocov3_is_that_of_the_iteration_in_which_it_is_used():
    epochs, momentum = MOCOV3.config['schedule']['epochs'], MOCOV3.config['schedule']['momentum']
    algorithm = MODELS.build(dict(type='mmdssl.MoCoV3', backbone=dict(type='Vectors', embed_dim=2), momentum=momentum,
                                  projector=dict(hidden_dim=2, out_dim=2), predictor=dict(hidden_dim=2)))
    length = 10**6
    for epoch, expected in zip(MOCOV3['schedule.epoch'].tolist(), MOCOV3['schedule.momentum'].tolist()):
        iteration = epoch / epochs * length
        assert cosine(momentum, 1., Progress(iteration, length, 0, 1)) == pytest.approx(expected, abs=1e-12)
        algorithm.set_progress(Progress(iteration - 1, length, 0, 1))
        assert algorithm.momentum_now() == pytest.approx(expected, abs=1e-12)


def test_step_of_mocov2():
    config = MOCOV2.config
    algorithm = MODELS.build(dict(
        type='mmdssl.MoCoV2', backbone=dict(type='Vectors', embed_dim=12), queue_size=config['queue'], momentum=config['momentum'],
        temperature=config['temperature'], projector=dict(hidden_dim=12, out_dim=config['dim'], num_layers=2)))
    algorithm.student.projector.load_state_dict(MOCOV2.under('before.encoder_q.fc.'))
    algorithm.teacher.projector.load_state_dict(MOCOV2.under('before.encoder_k.fc.'))
    algorithm.queue.features.copy_(MOCOV2['queue.before'].T)
    algorithm.queue.set_extra_state(MOCOV2['pointer.before'])
    algorithm.after_step()
    for key, expected in MOCOV2.under('after.encoder_k.fc.').items():
        assert difference(algorithm.teacher.projector.state_dict()[key], expected) < 1e-6
    loss, _ = algorithm.parse_losses(algorithm.loss(views(MOCOV2['images.query'], MOCOV2['images.key'])))
    assert difference(loss, MOCOV2['loss']) < 2e-6
    loss.backward()
    for key, expected in MOCOV2.under('grad.encoder_q.fc.').items():
        assert difference(algorithm.student.projector.get_parameter(key).grad, expected) < 1e-5
    assert difference(algorithm.queue.features.T, MOCOV2['queue.after']) < 1e-6
    assert algorithm.queue.get_extra_state() % config['queue'] == MOCOV2['pointer.after']


@pytest.mark.parametrize('name', ['3_0.05', '10_0.03', '1_0.05'])
def test_sinkhorn_of_swav(name):
    iterations, epsilon = name.split('_')
    codes = sinkhorn(SWAV['sinkhorn.scores'], float(epsilon), int(iterations))
    assert difference(codes, SWAV[f'sinkhorn.codes.{name}']) < 5e-6
    torch.testing.assert_close(codes.sum(1), torch.ones(len(codes)))


def other_way_round(queue: Tensor) -> Tensor:
    """The last batch first."""
    return queue.unflatten(1, (-1, SWAV.config['images'])).flip(1).flatten(1, 2)


@pytest.mark.parametrize('case', ['plain', 'queue', 'filling'])
def test_loss_of_swav(case):
    config = SWAV.config
    with_queue = dict(queue_size=config['queue_length'], queue_begin=0) if case != 'plain' else {}
    algorithm = MODELS.build(dict(
        type='mmdssl.SwAV', backbone=dict(type='Vectors', embed_dim=config['dim']), num_prototypes=config['prototypes'],
        epsilon=config['epsilon'], iterations=config['sinkhorn_iterations'], temperature=config['temperature'],
        projector=dict(out_dim=config['dim']), **with_queue))
    algorithm.student['projector'] = nn.Identity()
    with torch.no_grad():
        algorithm.student.prototypes.weight.copy_(SWAV['prototypes.before'])
    if case != 'plain':
        # Theirs has the newest batch first, and zeros where it is not yet full; ours is a ring.
        before = other_way_round(SWAV[f'{case}.queue.before'])
        filled = int(before[0].any(1).sum())
        algorithm.queue.features.copy_(before.roll(-(len(before[0]) - filled), 1))
        algorithm.queue.set_extra_state(torch.tensor(filled))
        assert algorithm.queue.full == (case == 'queue')
    latents = SWAV['latents'].clone().requires_grad_()
    seen = []
    codes = algorithm.codes
    algorithm.codes = lambda *args: seen.append(codes(*args)) or seen[0]
    values = algorithm.loss(views(*latents))
    assert difference(values['loss_swap'], SWAV[f'{case}.loss']) < 5e-6
    assert difference(seen[0], SWAV[f'{case}.codes']) < 5e-6
    values['loss_swap'].backward()
    assert difference(latents.grad, SWAV[f'{case}.grad.latents']) < 1e-5
    weight = algorithm.student.prototypes.weight
    assert difference(weight.grad, SWAV[f'{case}.grad.prototypes']) < 1e-5
    assert difference(weight.detach(), SWAV['prototypes.after']) < 1e-6
    if case != 'plain':
        oldest_first = algorithm.queue.features.roll(-int(algorithm.queue.get_extra_state()), 1)
        assert difference(other_way_round(oldest_first), SWAV[f'{case}.queue.after']) < 1e-6
        assert algorithm.queue.full


def test_scores_are_of_unit_vectors():
    assert difference(F.normalize(SWAV['latents'], dim=-1), SWAV['embeddings']) < 1e-6
