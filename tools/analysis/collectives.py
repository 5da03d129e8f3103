"""What processes tell each other in a training step: python tools/analysis/collectives.py configs/small/*.py

One process plays the first of many, whose messages go nowhere (PyTorch's fake process group), and takes a step on noise, of
which every collective operation is counted, by what asks for it. The bytes are those of a process's message: of all that it sends,
or of all that it receives where that is more. Two numbers of processes and of images tell how they grow.
"""
from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from PIL import Image
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmdssl.datasets.views import Views
from mmdssl.engine import OptimWrapperConstructor
from mmdssl.engine.sharding import check_strategy, prepare_optimizer, shard, with_zero1
from mmdssl.errors import InputError
from mmdssl.models.layers.sync_norm import synchronise_norms
from mmdssl.registry import DATASETS, MODELS
from mmdssl.schedules import Progress

# Who grows with processes times images, and why: these methods compare with the images of all processes.
NEEDED = {
    '_Gather.forward': 'keys or latents of the whole batch (MoCo v3, SimCLR, SupCon, BAM), and the gradients that go back',
    '_Gather.backward': 'the same',
    'logsumexp_over_ranks': 'a number for each view that serves as key (BAM)',
    'FeatureQueue.push': 'the keys of all processes enter the queue (MoCo v2, DenseCL, LooC, SwAV)',
    'in_shuffled_batches': 'images and keys of shuffled batches (MoCo v2, DenseCL, LooC)',
}
WRAPPERS = {'fsdp/_fully_shard': 'FSDP2', 'zero_redundancy_optimizer': 'ZeRO-1'}


class Asked(NamedTuple):
    """What kind of operation was asked for, and by whom."""
    operation: str
    by: str


class Sum(NamedTuple):
    """Of a step: how many operations, and their bytes."""
    count: int
    bytes: int


class Recorder(TorchDispatchMode):
    """Notes the collective operations within it."""

    def __init__(self):
        super().__init__()
        self.counts, self.bytes = Counter(), Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace in ('c10d', '_c10d_functional') and 'wait' not in function.__name__:
            sizes = [sum(x.numel() * x.element_size() for x in tree_leaves(arg) if isinstance(x, torch.Tensor)) for arg in args]
            asked = Asked(function.__name__.split('.')[0].strip('_'), asking())
            self.counts[asked] += 1
            self.bytes[asked] += max(sizes, default=0)
        return function(*args, **(kwargs or {}))

    def sums(self) -> dict[Asked, Sum]:
        return {asked: Sum(self.counts[asked], self.bytes[asked]) for asked in self.counts}


def asking() -> str:
    """The function of ours, or the wrapper, that asks for an operation."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        for part, name in WRAPPERS.items():
            if part in file:
                return name
        if '/mmdssl/' in file and not file.endswith('tools/analysis/collectives.py'):
            name = frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name
            return 'DistributedDataParallel' if name == 'OptimWrapper.backward' else name.partition('.<')[0]
        frame = frame.f_back
    return 'DistributedDataParallel'


@contextmanager
def many(ranks: int) -> Iterator[None]:
    """This process is the first of so many."""
    torch.distributed.init_process_group('fake', rank=0, world_size=ranks, store=FakeStore())
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def step_of(cfg: Config, ranks: int, images: int, strategy: str | None = None) -> dict[Asked, Sum]:
    """The collective operations of a step of one of so many processes, each with so many images."""
    torch.manual_seed(0)
    cfg = Config(dict(cfg))
    if 'queue_size' in cfg.model:
        cfg.model.queue_size = max(cfg.model.queue_size, ranks * images)
    with many(ranks):
        model, optim_wrapper = wrapped(cfg, strategy)
        algorithm = getattr(model, 'module', model)
        views = noise(cfg, images)
        algorithm.set_progress(Progress(1, 2, 1, 2))
        optim_wrapper.frozen = algorithm.frozen_parameters()
        with Recorder() as recorder:
            total, _ = algorithm.parse_losses(model(views, mode='loss'))
            optim_wrapper.update_params(torch.nan_to_num(total))  # what others would send is noise
        algorithm.after_step()
        return recorder.sums()


def wrapped(cfg: Config, strategy: str | None) -> tuple[nn.Module, object]:
    """Model and optimizer, as the runner has them on CPUs."""
    model = MODELS.build(cfg.model).train()
    synchronise_norms(model)
    settings = dict(cfg.optim_wrapper, type='OptimWrapper')
    settings.pop('constructor', None)
    rules = settings.pop('paramwise_cfg', None)
    if strategy:
        check_strategy(strategy, model, torch.distributed.get_world_size())
    if strategy == 'fsdp':
        model = shard(model, torch.device('cpu'))
    else:
        model = MMDistributedDataParallel(model, broadcast_buffers=False)
        model.register_comm_hook(None, reduce)
    optim_wrapper = OptimWrapperConstructor(with_zero1(settings) if strategy == 'zero1' else settings, rules)(model)
    if strategy == 'fsdp':
        prepare_optimizer(optim_wrapper.optimizer)
    return model, optim_wrapper


def reduce(_, bucket):
    """What ``DistributedDataParallel`` does by itself, but for a process group whose operations have no result."""
    torch.distributed.all_reduce(bucket.buffer())
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


def noise(cfg: Config, images: int) -> Views:
    """A batch of the views that a config makes, of images of noise in two classes."""
    with TemporaryDirectory() as folder:
        for i in range(images):
            place = Path(folder, 'ab'[i % 2])
            place.mkdir(exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(place / f'{i}.png')
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=folder))
        views = Views.collate([dataset[(0, 1, i)] for i in range(images)])
    for group in views.groups.values():
        group.images = torch.randn(group.images.shape)
    return views


def growth(cfg: Config, ranks: tuple[int, int], images: tuple[int, int], strategy: str | None) -> dict[Asked, tuple[str, Sum, Sum]]:
    """By operation: how its bytes grow, and what it is with few and with many processes."""
    few, many, more = (step_of(cfg, *numbers, strategy) for numbers in
                       ((ranks[0], images[0]), (ranks[1], images[0]), (ranks[1], images[1])))
    none = Sum(0, 0)
    found = {}
    for asked in dict.fromkeys([*few, *many, *more]):
        first, second, third = (sums.get(asked, none) for sums in (few, many, more))
        by_ranks = second.bytes > 1.5 * first.bytes  # cutting rounds up
        by_images = third.bytes != second.bytes
        found[asked] = ' x '.join(['processes'] * by_ranks + ['images'] * by_images) or 'constant', first, second
    return found


def main(argv: list[str] | None = None) -> None:
    warnings.filterwarnings('ignore')
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--ranks', type=int, nargs=2, default=(64, 1024), metavar=('FEW', 'MANY'))
    parser.add_argument('--images', type=int, nargs=2, default=(2, 4), metavar=('FEW', 'MANY'), help='of each process')
    parser.add_argument('--shard', choices=['zero1', 'fsdp'])
    args = parser.parse_args(argv)
    print(f'| method | operation | asked for by | per step, {args.ranks[0]} / {args.ranks[1]} processes | bytes | bytes grow with |')
    print('|---|---|---|---|---|---|')
    for config in args.configs:
        try:
            found = growth(Config.fromfile(config), args.ranks, args.images, args.shard)
        except InputError as error:
            print(f'| {Path(config).stem} | {error} |')
            continue
        for asked, (grows, few, many) in found.items():
            print(f'| {Path(config).stem} | {asked.operation} | {asked.by} | {few.count} / {many.count} | {few.bytes:,} / {many.bytes:,} '
                  f'| {grows} |')


if __name__ == '__main__':
    main()
