"""Algorithms in float64 on one or several gloo processes, each with its share of the same images."""
from __future__ import annotations

from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

IMAGES, STEPS = 8, 3
VIT = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=32)
RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', stem_stride=2, model_args=dict(layers=(1, 1, 1, 1), channels=(8, 8, 8, 16)))
NORMED = dict(hidden_dim=20, out_dim=12, norm=True)
CASES = {
    # without batch norms, which in MoCo v2 are each process's own
    'mocov2': dict(type='MoCoV2', backbone=VIT, projector=dict(hidden_dim=20, out_dim=12, num_layers=2), queue_size=24),
    'mocov3 vit': dict(type='MoCoV3', backbone=VIT, projector=dict(NORMED, bias=False), predictor=dict(NORMED, num_layers=2, bias=False)),
    'mocov3': dict(type='MoCoV3', backbone=RESNET, projector=dict(NORMED, num_layers=2),
                   predictor=dict(NORMED, num_layers=2, last_norm=None)),
    'simclr': dict(type='SimCLR', backbone=RESNET, projector=dict(NORMED, num_layers=2, last_norm='affine')),
    'byol': dict(type='BYOL', backbone=RESNET, projector=dict(NORMED, num_layers=2, last_norm=None),
                 predictor=dict(NORMED, num_layers=2, last_norm=None)),
    'swav': dict(type='SwAV', backbone=RESNET, projector=dict(NORMED, num_layers=2, last_norm=None), num_prototypes=10,
                 freeze_prototypes=0, queue_size=16, queue_begin=0),  # full after two steps, so that the third one reads it
    'barlow twins': dict(type='BarlowTwins', backbone=RESNET, projector=dict(NORMED, last_norm=None, bias=False, last_bias=False)),
    'bam': dict(type='BAM', backbone=RESNET, projector=dict(NORMED, activation='relu'), teacher=False),
}
CASES |= {
    'densecl': dict(CASES['mocov2'], type='DenseCL', grid=3),
    'selfpatch': dict(type='SelfPatch', backbone=dict(VIT, class_token=False, final_norm=False), freeze_last_layer=0, head=dict(
        cls=dict(num_prototypes=12, hidden_dim=20, bottleneck_dim=6), patch=dict(num_prototypes=9, hidden_dim=20, bottleneck_dim=6))),
}
LOCAL = ('swav', 'bam', 'selfpatch')


def train(case: str, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """What :data:`STEPS` steps of SGD give: values of each step, averaged over processes, gradients of each, and the final state."""
    torch.manual_seed(0)
    algorithm = MODELS.build(dict(CASES[case])).double().train()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if world > 1:
        synchronise_norms(algorithm)
    model = DistributedDataParallel(algorithm, broadcast_buffers=False) if world > 1 else algorithm
    parameters = [p for p in algorithm.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    found = {}
    for step in range(STEPS):
        algorithm.set_progress(Progress(step, STEPS, 0, 1))
        values = model(views(case, step, slice(rank * IMAGES // world, (rank + 1) * IMAGES // world)))
        optimizer.zero_grad()
        algorithm.parse_losses(values)[0].backward()
        found |= {f'{step}: gradient of {name}': p.grad.clone() for name, p in algorithm.named_parameters() if p.requires_grad}
        optimizer.step()
        algorithm.after_step()
        for name, value in values.items():
            mean = value.detach().clone()
            all_reduce(mean, 'mean')
            found[f'{step}: {name}'] = mean
    return found | algorithm.state_dict()


def views(case: str, step: int, mine: slice) -> Views:
    """The same for all numbers of processes, of which this one sees its share."""
    generator = torch.Generator().manual_seed(step)
    sizes = {'global': 32, 'local': 16} if case in LOCAL else {'global': 32}
    images = {name: torch.randn(2, IMAGES, 3, size, size, dtype=torch.float64, generator=generator) for name, size in sizes.items()}
    return Views({name: ViewGroup(group[:, mine], torch.zeros(0), torch.zeros(0)) for name, group in images.items()},
                 torch.arange(IMAGES)[mine])


def run_as_rank(folder: Path) -> None:
    """Leave ``folder/{rank}``."""
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save({case: train(case, rank, world) for case in CASES}, folder / str(rank))
    torch.distributed.destroy_process_group()
