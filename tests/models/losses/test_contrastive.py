"""Contrastive losses and their gradients against loops over the formulas in float64, alone and over two processes."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.dist import get_dist_info
from processes import run_ranks
from torch import Tensor

from mmdssl.models.losses.contrastive import batch_contrast, queue_contrast, redundancy, view_contrast

VIEWS, IMAGES, DIM, TEMPERATURE = 3, 6, 5, 0.3
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def latents(seed: int = 0, views: int = VIEWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(views, IMAGES, DIM, generator=generator, dtype=torch.float64), dim=-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return sum(a[i] * b[i] for i in range(len(a)))


def queue_by_loops(z: Tensor, queue: Tensor) -> Tensor:
    query, key = z[:2]
    losses = []
    for q, k in zip(query, key):
        positive = (dot(q, k) / TEMPERATURE).exp()
        losses.append(-(positive / (positive + sum((dot(q, n) / TEMPERATURE).exp() for n in queue))).log())
    return sum(losses) / IMAGES


def batch_by_loops(z: Tensor) -> Tensor:
    query, key = z[0], z[1].detach()
    losses = [-((dot(query[i], key[i]) / TEMPERATURE).exp() / sum((dot(query[i], k) / TEMPERATURE).exp() for k in key)).log()
              for i in range(IMAGES)]
    return sum(losses) / IMAGES


def view_by_loops(z: Tensor, labels: Tensor, inside: bool) -> Tensor:
    anchors = [(v, i) for v in range(VIEWS) for i in range(IMAGES)]
    losses = []
    for v, i in anchors:
        others = [a for a in anchors if a != (v, i)]
        positives = [(w, j) for w, j in others if labels[j] == labels[i]]
        every = sum((dot(z[v, i], z[a]) / TEMPERATURE).exp() for a in others)
        shares = [(dot(z[v, i], z[p]) / TEMPERATURE).exp() / every for p in positives]
        losses.append(-(sum(shares) / len(shares)).log() if inside else -sum(share.log() for share in shares) / len(shares))
    return sum(losses) / len(losses)


def redundancy_by_loops(z: Tensor, weight: float) -> Tensor:
    loss = 0.
    for i in range(DIM):
        for j in range(DIM):
            correlation = sum(z[0, b, i] * z[1, b, j] for b in range(IMAGES)) / IMAGES
            loss = loss + ((1 - correlation)**2 if i == j else weight * correlation**2)
    return loss


QUEUE = latents(9, 1)[0]
IMAGE_CLASSES = torch.arange(IMAGES)
CASES = {
    'queue': (lambda z, mine: queue_contrast(z[0], z[1], QUEUE, TEMPERATURE), lambda z: queue_by_loops(z, QUEUE)),
    'batch': (lambda z, mine: batch_contrast(z[0], z[1], TEMPERATURE), batch_by_loops),
    'views': (lambda z, mine: view_contrast(z, None, TEMPERATURE), lambda z: view_by_loops(z, IMAGE_CLASSES, False)),
    'classes': (lambda z, mine: view_contrast(z, LABELS[mine], TEMPERATURE), lambda z: view_by_loops(z, LABELS, False)),
    'classes, inside': (lambda z, mine: view_contrast(z, LABELS[mine], TEMPERATURE, inside=True),
                        lambda z: view_by_loops(z, LABELS, True)),
    'redundancy': (lambda z, mine: redundancy(z[0], z[1], 0.1), lambda z: redundancy_by_loops(z, 0.1)),
}


def value_and_gradient(loss, *args) -> tuple[Tensor, Tensor]:
    z = latents().requires_grad_()
    value = loss(z, *args)
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize('case', CASES)
def test_loss_and_gradient_are_those_of_the_formula(case):
    ours, loops = CASES[case]
    value, gradient = value_and_gradient(ours, slice(None))
    expected, wanted = value_and_gradient(loops)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)
    assert wanted.abs().max() > 1e-3


def share_of_a_rank(folder: Path) -> None:
    """Every process has some of the images; what it leaves is its loss and the gradient of all images' latents."""
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    mine = slice(rank * IMAGES // world, (rank + 1) * IMAGES // world)
    found = {}
    for case, (loss, _) in CASES.items():
        z = latents().requires_grad_()
        value = loss(z[:, mine], mine)
        found[case] = value.detach(), torch.autograd.grad(value, z)[0]
    torch.save(found, folder / str(rank))
    torch.distributed.destroy_process_group()


def test_two_processes_with_half_the_images_each_compute_what_one_does(tmp_path):
    run_ranks(share_of_a_rank, 2, tmp_path)
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    for case, (ours, _) in CASES.items():
        value, gradient = value_and_gradient(ours, slice(None))
        # DistributedDataParallel averages over processes, and so does the log
        torch.testing.assert_close((first[case][0] + second[case][0]) / 2, value, rtol=1e-10, atol=0)
        torch.testing.assert_close((first[case][1] + second[case][1]) / 2, gradient, rtol=1e-9, atol=1e-12)


def test_inside_is_never_above_outside():
    """Jensen's inequality (SupCon, Sec. 3.2.2)."""
    for seed in range(20):
        z = latents(seed)
        inside, outside = (view_contrast(z, LABELS, TEMPERATURE, inside=inside) for inside in (True, False))
        assert inside <= outside


def test_what_is_alike_costs_the_logarithm_of_the_number_of_candidates():
    same = torch.nn.functional.normalize(torch.ones(2, IMAGES, DIM), dim=-1)
    assert view_contrast(same, None, 0.1).item() == pytest.approx(math.log(2 * IMAGES - 1), rel=1e-5)
    assert batch_contrast(same[0], same[1], 0.1).item() == pytest.approx(math.log(IMAGES), rel=1e-5)
    assert queue_contrast(same[0], same[1], same[0], 0.1).item() == pytest.approx(math.log(IMAGES + 1), rel=1e-5)


def test_losses_are_in_full_precision_under_autocast():
    z = latents().float()
    losses = [loss for name, (loss, _) in CASES.items() if name != 'queue']  # whose queue is in float64
    with torch.autocast('cpu', torch.bfloat16):
        values = [loss(z, slice(None)) for loss in losses]
    torch.testing.assert_close(values, [loss(z, slice(None)) for loss in losses])
