"""LooC against loops over its formula in float64, alone and over two processes; queues; LooC++'s own stages."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dist import all_reduce, get_dist_info
from processes import run_ranks
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

BACKBONE = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=16)
RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', stem_stride=2,
              model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)))
PROJECTOR = dict(hidden_dim=12, out_dim=6, num_layers=2)
IMAGES, FAMILIES, TEMPERATURE, QUEUE = 4, 2, 0.3, 8


def build(**settings):
    torch.manual_seed(0)
    settings = {'backbone': BACKBONE, **settings}
    algorithm = MODELS.build(dict(type='mmdssl.LooC', projector=PROJECTOR, num_families=FAMILIES, queue_size=QUEUE,
                                  temperature=TEMPERATURE, **settings)).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return algorithm


def batch(mine: slice = slice(None), views: int = FAMILIES + 2, size: int = 16) -> Views:
    images = torch.randn(views, IMAGES, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))[:, mine]
    return Views({'global': ViewGroup(images, torch.zeros(0), torch.zeros(0))}, torch.arange(IMAGES)[mine])


def latent(network, image: Tensor, space: int) -> Tensor:
    z = network.projector[space](network.backbone.features(image[None]))[0]
    return z / z.square().sum().sqrt()


def by_loops(algorithm, views: Views) -> Tensor:
    """-1 / (n + 1) [log E_00 / (E_00 + queue) + sum_i log E_ii / (sum_j E_ij + queue)], one image after the other."""
    total = 0.
    for b in range(IMAGES):
        query, *keys = views['global'].images[:, b]
        for i in range(FAMILIES + 1):
            q = latent(algorithm.student, query, i)
            exponentials = [(q @ latent(algorithm.teacher, key, i).detach() / TEMPERATURE).exp() for key in keys]
            rest = sum((q @ negative / TEMPERATURE).exp() for negative in algorithm.queue.features[i])
            candidates = sum(exponentials) if i else exponentials[0]
            total = total - (exponentials[i] / (candidates + rest)).log()
    return total / IMAGES / (FAMILIES + 1)


def test_loss_and_gradients_are_those_of_the_formula():
    algorithm, views = build(), batch()
    parameters = list(algorithm.student.parameters())
    expected = by_loops(algorithm, views)
    gradients = torch.autograd.grad(expected, parameters)
    loss = algorithm.loss(views)['loss_contrast']
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), gradients, rtol=1e-8, atol=1e-12)


def test_each_space_remembers_the_keys_that_are_its_positives():
    algorithm, views = build(), batch()
    before = algorithm.queue.features.clone()
    algorithm.loss(views)
    for i in range(FAMILIES + 1):
        expected = torch.stack([latent(algorithm.teacher, image, i) for image in views['global'].images[i + 1]])
        torch.testing.assert_close(algorithm.queue.features[i, :IMAGES], expected.detach())
    assert torch.equal(algorithm.queue.features[:, IMAGES:], before[:, IMAGES:])


def share_of_a_rank(folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save(two_steps(slice(rank * IMAGES // world, (rank + 1) * IMAGES // world), DistributedDataParallel), folder / str(rank))
    torch.distributed.destroy_process_group()


def two_steps(mine: slice, wrap=lambda algorithm: algorithm) -> list[Tensor]:
    """The losses of two steps, the sum of their gradients and the queues; the second one has the keys of the first."""
    algorithm = build()
    model, found = wrap(algorithm), []
    for _ in range(2):
        loss = model(batch(mine))['loss_contrast']
        loss.backward()
        mean = loss.detach().clone()
        all_reduce(mean, 'mean')
        found.append(mean)
    return [*found, algorithm.queue.features, *(p.grad for p in algorithm.student.parameters())]


def test_two_processes_compute_what_one_does(tmp_path):
    run_ranks(share_of_a_rank, 2, tmp_path)
    expected = two_steps(slice(None))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / str(rank)), expected, rtol=1e-8, atol=1e-12)


def test_each_head_of_the_plus_version_trains_a_stage_of_its_own():
    algorithm = build(backbone=dict(RESNET, branches=FAMILIES + 1), plus=True).float()
    views = batch(size=32).apply(lambda x: x.float() if x.is_floating_point() else x)
    branches, heads = algorithm.backbone.network.layer4, algorithm.student.projector
    features = algorithm.backbone.eval().features(views['global'].images[0])
    assert features.shape == (IMAGES, 8 * (FAMILIES + 1)) and algorithm.backbone.embed_dim == 8 * (FAMILIES + 1)
    for i in range(FAMILIES + 1):
        of_head = torch.autograd.grad(heads(features)[:, i].sum(), list(branches.parameters()), retain_graph=True, allow_unused=True)
        reached = {name.split('.')[0] for (name, _), grad in zip(branches.named_parameters(), of_head) if grad is not None and grad.any()}
        assert reached == {str(i)}
    algorithm.train().parse_losses(algorithm.loss(views))[0].backward()
    assert all(p.grad is not None for p in algorithm.student.parameters())


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match='LooC with 2 families reads 4 views .* the data makes 2: give LeaveOneOutViews'):
        build().loss(batch(views=2))
    with pytest.raises(InputError, match='needs a backbone with branches=3, one for each embedding space, and it has 1'):
        build(plus=True)
