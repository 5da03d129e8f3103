"""SupCon against loops over its formulas in float64, alone and over two processes; where labels come from."""
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
from mmdssl.models.losses.contrastive import view_contrast
from mmdssl.registry import MODELS

BACKBONE = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=16)
PROJECTOR = dict(hidden_dim=12, out_dim=6, num_layers=2)
IMAGES = 6
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
CASES = {
    'out': dict(),
    'in': dict(inside=True),
    'unscaled': dict(base_temperature=None, temperature=0.2),
    'one': dict(contrast_mode='one'),
    'one, in': dict(contrast_mode='one', inside=True),
}


def build(**settings):
    torch.manual_seed(0)
    algorithm = MODELS.build(dict(type='mmdssl.SupCon', backbone=BACKBONE, projector=PROJECTOR, **settings)).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return algorithm


def batch(mine: slice = slice(None), labels: Tensor | None = LABELS) -> Views:
    images = torch.randn(2, IMAGES, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))[:, mine]
    group = ViewGroup(images, torch.zeros(0), torch.zeros(0))
    return Views({'global': group}, torch.arange(IMAGES)[mine], labels=None if labels is None else labels[mine])


def by_loops(z: Tensor, labels: list[int], temperature: float = 0.1, base_temperature: float | None = 0.07, inside: bool = False,
             contrast_mode: str = 'all') -> Tensor:
    views = [(v, i) for v in range(len(z)) for i in range(len(labels))]
    losses = []
    for v, i in views if contrast_mode == 'all' else views[:len(labels)]:
        others = [view for view in views if view != (v, i)]
        positives = [(w, j) for w, j in others if labels[j] == labels[i]]
        every = sum((z[v, i] @ z[a] / temperature).exp() for a in others)
        shares = [(z[v, i] @ z[p] / temperature).exp() / every for p in positives]
        if not shares:
            losses.append(torch.zeros((), dtype=z.dtype))
        elif inside:
            losses.append(-(sum(shares) / len(shares)).log())
        else:
            losses.append(-sum(share.log() for share in shares) / len(shares))
    return sum(losses) / len(losses) * (1 if base_temperature is None else temperature / base_temperature)


def value_and_gradients(algorithm, value: Tensor) -> list[Tensor]:
    return [value.detach(), *torch.autograd.grad(value, [p for p in algorithm.parameters() if p.requires_grad])]


@pytest.mark.parametrize('case', CASES)
def test_loss_and_gradients_are_those_of_the_formulas(case):
    algorithm, data = build(**CASES[case]), batch()
    latents = algorithm.student.projector(algorithm.student.backbone.features(data['global'].images.flatten(0, 1)))
    latents = (latents / latents.norm(dim=-1, keepdim=True)).unflatten(0, (2, IMAGES))
    found = value_and_gradients(algorithm, algorithm.loss(data)['loss_contrast'])
    expected = value_and_gradients(algorithm, by_loops(latents, LABELS.tolist(), **CASES[case]))
    for ours, loops in zip(found, expected):
        torch.testing.assert_close(ours, loops, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize('inside', [False, True])
def test_a_view_without_a_positive_adds_nothing_and_counts(inside):
    """There are some where an image has a single view."""
    z = torch.randn(1, IMAGES, 5, dtype=torch.float64)
    z = (z / z.norm(dim=-1, keepdim=True)).requires_grad_()
    labels = torch.tensor([0, 1, 0, 2, 3, 0])
    loss, loops = view_contrast(z, labels, 0.1, inside), by_loops(z, labels.tolist(), base_temperature=None, inside=inside)
    torch.testing.assert_close(loss, loops, rtol=1e-10, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(value, z) for value in (loss, loops)), rtol=1e-9, atol=1e-12)


def test_inside_is_never_above_outside():
    """Jensen's inequality (Sec. 3.2.2)."""
    inside, outside = build(inside=True), build()
    for seed in range(10):
        data = batch()
        data['global'].images.normal_(generator=torch.Generator().manual_seed(seed))
        assert inside.loss(data)['loss_contrast'] <= outside.loss(data)['loss_contrast']


def test_each_image_a_class_of_its_own_is_simclr():
    algorithm, data = build(base_temperature=None), batch(labels=torch.arange(IMAGES))
    simclr = MODELS.build(dict(type='mmdssl.SimCLR', backbone=BACKBONE, projector=PROJECTOR)).double()
    simclr.load_state_dict(algorithm.state_dict())
    torch.testing.assert_close(algorithm.loss(data)['loss_contrast'], simclr.loss(data)['loss_contrast'], rtol=1e-12, atol=0)


def share_of_a_rank(folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save(steps(slice(rank * IMAGES // world, (rank + 1) * IMAGES // world), DistributedDataParallel), folder / str(rank))
    torch.distributed.destroy_process_group()


def steps(mine: slice, wrap=lambda algorithm: algorithm) -> dict[str, list[Tensor]]:
    found = {}
    for case, settings in CASES.items():
        algorithm = build(**settings)
        model = wrap(algorithm)  # whose hooks live as long as it does
        value = model(batch(mine))['loss_contrast']
        value.backward()
        mean = value.detach().clone()
        all_reduce(mean, 'mean')
        found[case] = [mean, *(p.grad for p in algorithm.parameters() if p.grad is not None)]
    return found


def test_two_processes_compute_what_one_does(tmp_path):
    run_ranks(share_of_a_rank, 2, tmp_path)
    expected = steps(slice(None))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / str(rank)), expected, rtol=1e-8, atol=1e-12)


def test_data_without_labels_is_an_input_error():
    with pytest.raises(InputError, match='SupCon reads the class of each image, which the data does not tell: train on an ImageFolder'):
        build().loss(batch(labels=None))


def test_an_unknown_mode_is_an_input_error():
    with pytest.raises(InputError, match="contrast_mode of SupCon is one of all, one, got 'two'"):
        build(contrast_mode='two')
