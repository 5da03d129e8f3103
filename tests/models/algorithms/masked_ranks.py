"""Masked modelling in float64 on one or several gloo processes, each with its share of the same images."""
from __future__ import annotations

from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch.nn.parallel import DistributedDataParallel

import mmdssl.models.algorithms.dvae
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import MODELS

VIT = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=32)
TOKENIZER = dict(type='mmdssl.RandomProjectionTokenizer', num_codes=12, stride=8, dim=4)
CASES = {
    'mae': dict(type='MAE', backbone=dict(VIT, position='sincos', init='mae'), decoder=dict(embed_dim=16, depth=1, num_heads=2)),
    'maskfeat': dict(type='MaskFeat', backbone=dict(VIT, mask_token=True)),
    'beit': dict(type='BEiT', tokenizer=TOKENIZER, backbone=dict(
        VIT, mask_token=True, position='none', relative_position='shared', layer_scale=0.1, init='beit')),
    'dvae': dict(type='DVAE', kl_weight=0.1, backbone=dict(type='mmdssl.DVAEEncoder', num_codes=12, width=16, depth=1)),
}


def samples_of(images: int, even: bool, dtype: torch.dtype = torch.float32) -> list[Views]:
    """Two views of 32 px of each image with 4 x 4 patches, of which as many are masked in each where ``even``."""
    samples = []
    for i in range(images):
        order = torch.rand(2, 16).argsort(1)
        masked = order < (12 if even else 3 + i % 5)
        empty = torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool)
        samples.append(Views({'global': ViewGroup(torch.randn(2, 3, 32, 32, dtype=dtype), *empty, masked.view(2, 4, 4))}, torch.tensor(i)))
    return samples


def loss_and_gradient(case: str, rank: int = 0, world: int = 1, images: int = 8) -> dict[str, torch.Tensor]:
    """Values, averaged over processes, and the gradient that the optimizer sees, by name."""
    mmdssl.models.algorithms.dvae.gumbel_softmax = lambda logits, temperature: (logits / temperature).softmax(1)  # without noise
    torch.manual_seed(0)
    algorithm = MODELS.build(dict(CASES[case], type=f'mmdssl.{CASES[case]["type"]}')).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    samples = samples_of(images, even=case == 'mae', dtype=torch.float64)
    views = Views.collate(samples[rank * images // world:(rank + 1) * images // world])
    if case == 'dvae':
        views['global'].masks = None
    if world > 1:
        synchronise_norms(algorithm)
    model = DistributedDataParallel(algorithm, broadcast_buffers=False) if world > 1 else algorithm
    values = model(views)
    algorithm.parse_losses(values)[0].backward()
    means = {name: value.detach().clone() for name, value in values.items()}
    for mean in means.values():
        all_reduce(mean, 'mean')
    return means | {name: p.grad for name, p in algorithm.named_parameters() if p.requires_grad}


def run_as_rank(folder: Path) -> None:
    """Leave ``folder/{world}.{rank}``."""
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save({case: loss_and_gradient(case, rank, world) for case in CASES}, folder / f'{world}.{rank}')
    torch.distributed.destroy_process_group()
