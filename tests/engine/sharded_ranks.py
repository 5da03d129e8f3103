"""Every ViT method in float64 on one or several gloo processes, whole or sharded, by the real optimizer wrapper.

``python tests/engine/sharded_ranks.py 4`` compares all methods and strategies on four processes with one, which takes minutes.
"""
from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch._dynamo  # noqa: F401  the processes that are copies of this one then have it, and the next two
import torch.distributed.fsdp
import torch.distributed.tensor  # noqa: F401
from mmengine.dist import all_reduce, get_dist_info
from mmengine.model import MMDistributedDataParallel
from timm.models.vision_transformer import Block
from torch import Tensor

from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.engine import OptimWrapperConstructor
from mmdssl.engine.recomputing import recompute
from mmdssl.engine.sharding import shard, with_zero1
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress

IMAGES, STEPS = 8, 2
VIT = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=32)
SINCOS = dict(VIT, position='sincos', mask_token=True)
HEAD = dict(num_prototypes=12, hidden_dim=20, bottleneck_dim=6)
MLP, NORMED = dict(hidden_dim=20, out_dim=12, num_layers=2), dict(hidden_dim=20, out_dim=12, norm=True, bias=False)
CASES = {
    'dino': dict(type='DINO', backbone=VIT, head=HEAD),
    'ibot': dict(type='IBOT', backbone=dict(VIT, mask_token=True), head=HEAD, sharing='semi-shared'),
    'selfpatch': dict(type='SelfPatch', backbone=dict(VIT, class_token=False, final_norm=False), head=dict(cls=HEAD, patch=HEAD)),
    'adclr': dict(type='ADCLR', backbone=VIT, head=dict(HEAD, norm_last_layer=True)),
    'pqcl': dict(type='PQCL', backbone=SINCOS, head=HEAD),
    'bam': dict(type='BAM', backbone=VIT, projector=MLP),
    'bam alone': dict(type='BAM', backbone=VIT, projector=dict(MLP, norm=True), teacher=False),
    'mocov2': dict(type='MoCoV2', backbone=VIT, projector=MLP, queue_size=24),
    'mocov3': dict(type='MoCoV3', backbone=dict(VIT, position='sincos', frozen_patch_embed=True), projector=NORMED,
                   predictor=dict(NORMED, num_layers=2)),
    'densecl': dict(type='DenseCL', backbone=VIT, projector=MLP, grid=3, queue_size=24),
    'mae': dict(type='MAE', backbone=dict(VIT, position='sincos', init='mae'), decoder=dict(embed_dim=16, depth=1, num_heads=2)),
    'maskfeat': dict(type='MaskFeat', backbone=dict(VIT, mask_token=True)),
    'beit': dict(type='BEiT', tokenizer=dict(type='mmdssl.RandomProjectionTokenizer', num_codes=12, stride=8, dim=4), backbone=dict(
        VIT, mask_token=True, position='none', relative_position='shared', layer_scale=0.1, init='beit')),
    'simclr': dict(type='SimCLR', backbone=VIT, projector=MLP),
    'byol': dict(type='BYOL', backbone=VIT, projector=MLP, predictor=MLP),
    'barlow twins': dict(type='BarlowTwins', backbone=VIT, projector=dict(NORMED, last_norm=None)),
    'looc': dict(type='LooC', backbone=VIT, projector=MLP, queue_size=24),
    'supcon': dict(type='SupCon', backbone=VIT, projector=MLP),
}
NAMED = ('dino', 'ibot', 'selfpatch', 'adclr', 'pqcl', 'bam', 'mocov3', 'densecl', 'mae', 'maskfeat', 'beit')
LOCAL, MASKED, QUERY = ('dino', 'ibot', 'selfpatch', 'bam'), ('ibot', 'pqcl', 'mae', 'maskfeat', 'beit'), dict(adclr=(3, 8), pqcl=(2, 16))
CLIPPING = dict(clip_per_tensor=0.05), dict(clip_grad=dict(max_norm=0.2))


def views(case: str, step: int, mine: slice) -> Views:
    """The same for all numbers of processes, of which this one sees its share."""
    random = torch.Generator().manual_seed(step)

    def group(number: int, size: int) -> ViewGroup:
        boxes = torch.rand(number, 4, generator=random) * 40 + 10
        return ViewGroup(torch.randn(number, 3, size, size, dtype=torch.float64, generator=random), boxes,
                         torch.rand(number, generator=random) > 0.5)

    samples = []
    for i in range(IMAGES):
        groups = {'global': group(5 if case == 'looc' else 2, 32)}
        if case in MASKED:
            order = torch.rand(2, 16, generator=random).argsort(1)
            groups['global'].masks = (order < (12 if case == 'mae' else 3 + i % 5)).view(2, 4, 4)
        if case in LOCAL:
            groups['local'] = group(2, 16)
        if case in QUERY:
            groups['query'] = group(*QUERY[case])
        samples.append(Views(groups, torch.tensor(i), labels=torch.tensor(i % 2)))
    return Views.collate(samples[mine])


def train(case: str, strategy: str | None = None, clipping: int = 0, fast: bool = False) -> dict[str, Tensor]:
    """What :data:`STEPS` steps of AdamW give: values of each step, averaged over processes, gradients, and the final state.

    The last layer of a head is frozen in the first step. ``fast`` has compiled blocks, those that are trained recomputed, and an optimizer
    of many tensors at once. Of a DTensor there is the shard of this process, under ``'name (shard)'``.
    """
    rank, world = get_dist_info()
    torch.manual_seed(0)
    algorithm = MODELS.build(dict(CASES[case])).double().train()
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = algorithm
    if fast:
        blocks = [module for module in algorithm.modules() if isinstance(module, Block)]
        recompute([block for block in blocks if block.norm1.weight.requires_grad])
        for block in blocks:
            block.compile(backend='eager')
    if world > 1:
        synchronise_norms(algorithm)
        model = shard(algorithm, 'cpu') if strategy == 'fsdp' else MMDistributedDataParallel(algorithm, broadcast_buffers=False)
    config = dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1, foreach=fast), **CLIPPING[clipping])
    optim_wrapper = OptimWrapperConstructor(with_zero1(config) if strategy == 'zero1' else config)(model)
    optim_wrapper.initialize_count_status(model, 0, STEPS)
    optim_wrapper.zero_grad = lambda: None  # gradients are looked at after the step
    algorithm.data_preprocessor.forward = lambda data, training: dict(views=data)
    found = {}
    for step in range(STEPS):
        algorithm.set_progress(Progress(step, STEPS, step, STEPS))
        optim_wrapper.frozen = algorithm.frozen_parameters()
        values = model.train_step(views(case, step, slice(rank * IMAGES // world, (rank + 1) * IMAGES // world)), optim_wrapper)
        for name, parameter in algorithm.named_parameters():
            if parameter.grad is not None:
                found[f'{step}: gradient of {name}'] = parameter.grad
            parameter.grad = None
        algorithm.after_step()
        for name, value in values.items():
            found[f'{step}: {name}'] = mean = value.detach().clone()
            all_reduce(mean, 'mean')
    if clipping:
        found['norm'] = torch.from_numpy(optim_wrapper.message_hub.get_scalar('train/grad_norm').data[0][-STEPS:])
    found |= algorithm.state_dict()
    return {f'{name} (shard)' if hasattr(value, 'to_local') else name: getattr(value, 'to_local', lambda: value)().clone()
            for name, value in found.items()}


def run_as_rank(folder: Path, runs: list[tuple]) -> None:
    """Leave the results of runs, by the arguments of :func:`train`, in ``folder/{world}.{rank}``."""
    torch.distributed.init_process_group('gloo')
    rank, world = get_dist_info()
    torch.save({run: train(*run) for run in runs}, folder / f'{world}.{rank}')
    torch.distributed.destroy_process_group()


def differences(found: dict[str, Tensor], expected: dict[str, Tensor], rank: int, world: int) -> list[str]:
    """What one of several processes has computed otherwise than one process alone."""
    wrong = [f'{name} is there once' for name in {name.removesuffix(' (shard)') for name in found} ^ set(expected)]
    for name, value in found.items():
        whole = expected.get(name.removesuffix(' (shard)'), value)
        if name.endswith(' (shard)'):
            shards = whole.chunk(world)
            whole = shards[rank] if rank < len(shards) else whole[:0]
        if not torch.allclose(value, whole, rtol=1e-6, atol=1e-7):
            wrong.append(f'{name} by {(value - whole).abs().max():.1e}')
    return wrong


def main(processes: int) -> int:
    """Returns how many runs differ from those of one process."""
    from processes import run_ranks
    torch.set_num_threads(1)
    runs, wrong = list(product(CASES, ('zero1', 'fsdp'), (0, 1))), 0
    with TemporaryDirectory() as folder:
        run_ranks(run_as_rank, processes, Path(folder), runs)
        found = [torch.load(f'{folder}/{processes}.{rank}') for rank in range(processes)]
    for run in runs:
        expected = train(run[0], None, run[2])
        told = [what for rank, results in enumerate(found) for what in differences(results[run], expected, rank, processes)]
        wrong += bool(told)
        print(*run, 'differs: ' + ', '.join(told[:3]) if told else 'is that of one process')
    return wrong


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(int(sys.argv[1])))
