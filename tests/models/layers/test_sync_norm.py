"""Batch normalisation on several processes against PyTorch's on one that has all images."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dist import get_dist_info
from processes import run_ranks
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmdssl.errors import InputError
from mmdssl.models.layers.sync_norm import SyncBatchNorm, synchronise_norms

NORMS = {
    '1d': (nn.BatchNorm1d, (8, 5), {}),
    'plain': (nn.BatchNorm1d, (8, 5), dict(affine=False)),
    'sequence': (nn.BatchNorm1d, (8, 5, 3), {}),
    '2d': (nn.BatchNorm2d, (8, 5, 3, 2), dict(eps=1e-3, momentum=0.3)),
    'cumulative': (nn.BatchNorm2d, (8, 5, 3, 2), dict(momentum=None)),
    'untracked': (nn.BatchNorm2d, (8, 5, 3, 2), dict(track_running_stats=False)),
    'with activation': (BatchNormAct2d, (8, 5, 3, 2), {}),
}
SHARES = [slice(0, 3), slice(3, 8)]  # processes may have different numbers of images


def two_steps(case: str, mine: slice = slice(None)) -> dict[str, Tensor]:
    """Outputs, gradients of parameters and images, and buffers, after two batches; the loss mixes the images."""
    kind, shape, settings = NORMS[case]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(5, 5, 1) if len(shape) == 3 else nn.Linear(5, 5) if len(shape) == 2 else nn.Conv2d(5, 5, 1),
                          kind(5, **settings)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    _, world = get_dist_info()
    if world > 1:
        synchronise_norms(model)
        assert type(model[1]) is SyncBatchNorm
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    for _ in range(2):
        images, weight = torch.randn(shape, dtype=torch.float64) + 2, torch.randn(shape, dtype=torch.float64)
        images = images[mine].clone().requires_grad_()
        output = wrapped(images)
        # each process averages over its rows, as an algorithm does; unequal shares are weighted accordingly
        ((output.sin() * weight[mine]).sum() * world / shape[0]).backward()
    model.eval()
    with torch.no_grad():
        evaluated = model(images)
    return {'output': output.detach(), 'images': images.grad / world, 'evaluated': evaluated,
            **{f'gradient of {name}': parameter.grad for name, parameter in model.named_parameters()},
            **{name: buffer.double() for name, buffer in model.named_buffers()}}


def run_as_rank(folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    rank, _ = get_dist_info()
    torch.save({case: two_steps(case, SHARES[rank]) for case in NORMS}, folder / str(rank))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(run_as_rank, 2, folder)
    return [torch.load(folder / str(rank)) for rank in range(2)]


@pytest.mark.parametrize('case', NORMS)
def test_two_processes_are_one_with_the_whole_batch(ranks, case):
    expected = two_steps(case)
    for rank, mine in zip(ranks, SHARES):
        assert set(rank[case]) == set(expected)
        for name, value in expected.items():
            own_batch = name in ('output', 'images') or name == 'evaluated' and case != 'untracked'
            if case == 'untracked' and name == 'evaluated':
                continue  # then a process has nothing but its own images
            torch.testing.assert_close(rank[case][name], value[mine] if own_batch else value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('case', NORMS)
def test_in_one_process_it_is_pytorchs(case):
    kind, shape, settings = NORMS[case]
    norm, images = kind(5, **settings), torch.randn(shape) + 1
    ours = kind(5, **settings)
    seen = []
    ours.register_forward_hook(lambda *args: seen.append(args))
    synchronise_norms(ours)
    torch.testing.assert_close(ours(images), norm(images))
    assert len(seen) == 1, 'hooks stay'
    assert set(ours.state_dict()) == set(norm.state_dict())
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(images), norm.eval()(images))


def test_bf16_is_normalised_in_fp32():
    images = (torch.randn(64, 5) + 3).bfloat16()
    found = SyncBatchNorm(5)(images)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, nn.BatchNorm1d(5)(images.float()).bfloat16())


def test_a_single_value_is_explained():
    with pytest.raises(InputError, match='a batch of a single value: raise train_dataloader.batch_size'):
        SyncBatchNorm(5)(torch.randn(1, 5))
