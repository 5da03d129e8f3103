"""BAM in float64 on one or several gloo processes, each with its share of the same images."""
from __future__ import annotations

from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch.nn.parallel import DistributedDataParallel

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=2)
# Without batch normalisation, which on CPUs sees only its own process.
PROJECTOR = dict(hidden_dim=20, out_dim=12, norm=False)
CASES = {
    'teacher': dict(),
    'teacher, global': dict(attention=dict(balanced_set='global', max_elements=1)),
    'no teacher': dict(teacher=False),
    'no teacher, full': dict(teacher=False, attention=dict(balanced_set='full', top_k=5)),
    'no teacher, in chunks': dict(teacher=False, attention=dict(max_elements=1)),
}


def loss_and_gradient(settings: dict, rank: int = 0, world: int = 1, images: int = 8) -> dict[str, torch.Tensor]:
    """Values, averaged over processes, and the gradient that the optimizer sees, by name."""
    torch.manual_seed(0)
    backbone = dict(type='mmdssl.VisionTransformer', arch=ARCH, patch_size=8, img_size=32)
    algorithm = MODELS.build(dict(type='mmdssl.BAM', backbone=backbone, projector=PROJECTOR, **settings)).double()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    mine = slice(rank * images // world, (rank + 1) * images // world)
    groups = {name: ViewGroup(torch.randn(2, images, 3, size, size, dtype=torch.float64)[:, mine], torch.zeros(0), torch.zeros(0))
              for name, size in (('global', 32), ('local', 16))}
    model = DistributedDataParallel(algorithm) if world > 1 else algorithm
    values = model(Views(groups, torch.arange(images)[mine]))
    algorithm.parse_losses(values)[0].backward()
    means = {name: value.detach().clone() for name, value in values.items()}
    for mean in means.values():
        all_reduce(mean, 'mean')
    return means | {name: p.grad for name, p in algorithm.named_parameters() if p.grad is not None}


def run_as_rank(folder: Path) -> None:
    """Leave ``folder/{world}.{rank}``."""
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save({name: loss_and_gradient(settings, rank, world) for name, settings in CASES.items()}, folder / f'{world}.{rank}')
    torch.distributed.destroy_process_group()
