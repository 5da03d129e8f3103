"""DenseCL in float64, one cell at a time, and what its options change; the authors' own numbers are in ``test_dense_public_code``."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch
from mmengine.dist import get_dist_info
from processes import run_ranks
from torch import Tensor, nn

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms import DenseCL
from mmdssl.models.algorithms.mocov2 import in_shuffled_batches
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

RESNET = dict(type='TimmBackbone', name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 16)))
DENSE = dict(hidden_dim=14, out_dim=10, num_layers=3)  # another one than the global projector
TEMPERATURE = 0.3


@pytest.fixture
def densecl(make_algorithm):
    """Function that builds DenseCL in float64, with queues that are not the initial ones."""
    def build(**settings) -> DenseCL:
        settings = dict(dict(queue_size=9, temperature=TEMPERATURE, dense_projector=DENSE), **settings)
        return make_algorithm('DenseCL', **settings).double()
    return build


@pytest.fixture
def views(make_views) -> Views:
    return make_views(masked=False, local=False).apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def averaged(maps: Tensor, side: int | None) -> list[Tensor]:
    """The cells of a map ``(C, h, w)``, row by row; each is the mean of the places that it touches."""
    height, width = maps.shape[1:]
    rows, columns = (side or height), (side or width)
    return [maps[:, r * height // rows:math.ceil((r + 1) * height / rows), c * width // columns:math.ceil((c + 1) * width / columns)]
            .flatten(1).mean(1) for r in range(rows) for c in range(columns)]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()


def info_nce(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    logits = torch.stack([cosine(query, other) / TEMPERATURE for other in (key, *queue)])
    return logits.exp().sum().log() - logits[0]


def expected(algorithm: DenseCL, views: Views, grid: int | None, matching: str) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of images and of cells, and what is pushed to the queue of cells."""
    student, teacher = algorithm.student, algorithm.teacher
    of_images, of_cells, pushed = [], [], []
    for query_image, key_image in zip(*views['global'].images):
        (query, query_map), (key, key_map) = ([output[0] for output in network.backbone.features_and_map(image[None])]
                                              for network, image in ((student, query_image), (teacher, key_image)))
        of_images.append(info_nce(student.projector(query[None])[0], teacher.projector(key[None])[0], algorithm.queue.features))
        query_cells, key_cells = averaged(query_map, grid), averaged(key_map, grid)
        dense_query, dense_key = ([network.dense_projector(cell[None])[0] for cell in cells]
                                  for network, cells in ((student, query_cells), (teacher, key_cells)))
        compared = (query_cells, key_cells) if matching == 'backbone' else (dense_query, dense_key)
        for i, query in enumerate(dense_query):
            match = max(range(len(key_cells)), key=lambda j: cosine(compared[0][i], compared[1][j]).item())
            of_cells.append(info_nce(query, dense_key[match], algorithm.dense_queue.features))
        pooled = sum(dense_key) / len(dense_key)
        pushed.append(pooled / pooled.norm())
    return torch.stack(of_images).mean(), torch.stack(of_cells).mean(), torch.stack(pushed)


@pytest.mark.parametrize('matching', ['backbone', 'dense'])
@pytest.mark.parametrize('grid', [None, 1, 3, 6])
def test_loss_and_gradients_follow_the_equations(densecl, views, grid, matching):
    algorithm = densecl(grid=grid, matching=matching, dense_weight=0.7)
    of_images, of_cells, pushed = expected(algorithm, views, grid, matching)
    parameters = [p for p in algorithm.student.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(0.3 * of_images + 0.7 * of_cells, parameters)
    values = algorithm.loss(views)
    torch.testing.assert_close(values['loss_contrast'], 0.3 * of_images)
    torch.testing.assert_close(values['loss_dense'], 0.7 * of_cells)
    algorithm.parse_losses(values)[0].backward()
    for parameter, gradient in zip(parameters, gradients):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(algorithm.dense_queue.features[:3], pushed)


def test_random_matching_takes_any_cell(densecl, views):
    algorithm = densecl(matching='random')
    cells = torch.zeros(50, 16, 1)
    found = algorithm.match(cells, cells, cells, cells)
    assert found.shape == (50, 16) and set(found.flatten().tolist()) == set(range(16))
    assert algorithm.loss(views)['loss_dense'].isfinite()


def test_weight_of_cells_may_wait(densecl, views):
    algorithm = densecl(dense_weight=1., dense_warmup=5)
    shares = []
    for iteration in (4, 5):
        algorithm.set_progress(Progress(iteration, 10, 0, 1))
        values = algorithm.loss(views)
        shares.append((values['loss_contrast'] > 0, values['loss_dense'] > 0))
    assert shares == [(True, False), (False, True)]
    # distributed training waits for all gradients, those of 0 as well
    algorithm.parse_losses(values)[0].backward()
    assert all(p.grad is not None for p in algorithm.student.parameters() if p.requires_grad)


def test_without_arguments_of_its_own_the_dense_projector_is_as_the_other(densecl):
    algorithm = densecl(dense_projector=None)
    shapes = [[p.shape for p in algorithm.student[name].parameters()] for name in ('projector', 'dense_projector')]
    assert shapes[0] == shapes[1]
    assert not any(p.requires_grad for p in algorithm.teacher.dense_projector.parameters())


def test_both_queues_are_in_checkpoints(densecl, views):
    algorithm, other = densecl(), densecl()
    algorithm.loss(views)
    other.load_state_dict(algorithm.state_dict())
    for _ in range(2):
        first, second = algorithm.loss(views), other.loss(views)
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(algorithm.dense_queue.features, other.dense_queue.features)


@pytest.mark.parametrize('name, args', [('mobilenetv3_small_050', {}), ('vit_tiny_patch16_224', dict(depth=1))])
def test_any_network_of_timm_with_maps(name, args, make_views):
    backbone = dict(type='TimmBackbone', name=name, model_args=args)
    algorithm = MODELS.build(dict(type='DenseCL', backbone=backbone, projector=dict(hidden_dim=20, out_dim=12), queue_size=8)).train()
    algorithm.parse_losses(algorithm.loss(make_views(masked=False, local=False)))[0].backward()
    assert all(p.grad is not None for p in algorithm.student.parameters() if p.requires_grad)


class Pooled(nn.Module):
    embed_dim = 4


def test_mistakes_are_explained(densecl, make_views, monkeypatch):
    with pytest.raises(InputError, match="matching is one of backbone, dense, random, got 'F'"):
        densecl(matching='F')
    with pytest.raises(InputError, match='dense_weight=1.5 is a share of the loss'):
        densecl(dense_weight=1.5)
    with pytest.raises(InputError, match='DenseCL reads the view groups global, the data makes global, local'):
        densecl().loss(make_views(masked=False))
    MODELS.register_module('PooledOnly', module=Pooled, force=True)
    with pytest.raises(InputError, match='DenseCL compares places of an image, and a Pooled does not tell them apart'):
        MODELS.build(dict(type='DenseCL', backbone=dict(type='PooledOnly'), projector=dict(out_dim=4)))
    monkeypatch.delattr(timm.models.ResNet, 'forward_intermediates')
    with pytest.raises(InputError, match="timm's resnet18 has no feature maps"):
        MODELS.build(dict(type='DenseCL', backbone=RESNET, projector=dict(out_dim=4)))


IMAGES = 3


def shuffled_as_rank(folder: Path) -> None:
    """Leave what this process gets back for its images, and with whom they were together."""
    torch.distributed.init_process_group('gloo')
    rank, _ = get_dist_info()
    torch.manual_seed(rank)  # processes draw different orders, and agree on one
    together = []
    for step in range(4):
        images = (torch.arange(IMAGES) + IMAGES * rank + 10. * step)[:, None, None].expand(-1, 2, 2)

        def network(batch: Tensor) -> tuple[Tensor, Tensor]:
            return batch * 2, batch.mean((0, 2)).expand(len(batch), -1)

        doubled, mean = in_shuffled_batches(network, images)
        assert torch.equal(doubled, images * 2), 'each gets its own back'
        together.append(mean[:, 0])
    torch.save(torch.stack(together), folder / str(rank))
    torch.distributed.destroy_process_group()


def test_images_of_one_process_are_normalised_in_different_batches(tmp_path):
    """So that batch norms do not tell which key belongs to which query; maps come back as well as vectors."""
    run_ranks(shuffled_as_rank, 2, tmp_path)
    means = torch.stack([torch.load(tmp_path / str(rank)) for rank in range(2)])  # by rank, step and image
    own = torch.tensor([[IMAGES * rank + 10. * step + 1 for step in range(4)] for rank in range(2)])
    assert (means != own[..., None]).any(), 'batches are mixed'
    assert any(len(set(step.tolist())) == 2 for rank in means for step in rank), 'the images of a process are spread'


def test_keys_of_a_resnet_are_shuffled_over_processes(tmp_path):
    run_ranks(step_as_rank, 2, tmp_path)
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert torch.equal(first['dense_queue'], second['dense_queue']) and torch.equal(first['queue'], second['queue'])
    assert not torch.equal(first['running_mean'], second['running_mean']), 'each normalises by its own batch'


def step_as_rank(folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    rank, _ = get_dist_info()
    torch.manual_seed(0)
    algorithm = MODELS.build(dict(type='mmdssl.DenseCL', backbone=RESNET, projector=dict(hidden_dim=20, out_dim=12), queue_size=8)).train()
    images = torch.randn(2, 4, 3, 32, 32)[:, 2 * rank:2 * rank + 2]
    algorithm.loss(Views({'global': ViewGroup(images, torch.zeros(0), torch.zeros(0))}, torch.arange(2)))
    torch.save(dict(queue=algorithm.queue.features, dense_queue=algorithm.dense_queue.features,
                    running_mean=algorithm.teacher.backbone.network.bn1.running_mean), folder / str(rank))
    torch.distributed.destroy_process_group()
