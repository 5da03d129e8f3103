"""What a process keeps in memory: python tools/analysis/memory.py configs/pretrain/dino.py

By size of the backbone, strategy (``shard``) and number of processes: weights, gradients and AdamW's moments of a method in fp32, in
bytes. Networks are built on PyTorch's meta device, so nothing is computed or allocated. Activations are not in it: they depend on the
views and on the batch, and not on the strategy.
"""
from __future__ import annotations

import argparse
from math import ceil
from typing import NamedTuple

import torch
from mmengine.config import Config
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmdssl.models.layers.class_attention import ClassBlock
from mmdssl.registry import MODELS

SIZES = {
    'S': dict(embed_dim=384, depth=12, num_heads=6),
    'B': dict(embed_dim=768, depth=12, num_heads=12),
    'L': dict(embed_dim=1024, depth=24, num_heads=16),
    'H': dict(embed_dim=1280, depth=32, num_heads=16),
    'g': dict(embed_dim=1408, depth=40, num_heads=16),
}


class Memory(NamedTuple):
    """Bytes of a process.

    Attributes:
        weights: Of all networks, with buffers.
        gradients: Of what is trained.
        moments: Two of AdamW.
        working: While a step runs: what DistributedDataParallel sends, or the weights and gradients that FSDP2 has gathered, at most.
    """
    weights: int
    gradients: int
    moments: int
    working: int


def memory(model: nn.Module, strategy: str | None = None, processes: int = 1) -> Memory:
    """Of the first process, which has the largest share."""
    parameters, buffers = list(model.parameters()), sum(map(nbytes, model.buffers()))
    trained = [p for p in parameters if p.requires_grad]
    if strategy == 'fsdp':
        blocks = [sum(map(nbytes, module.parameters())) for module in model.modules() if isinstance(module, (Block, ClassBlock))]
        in_blocks = {p for module in model.modules() if isinstance(module, (Block, ClassBlock)) for p in module.parameters()}
        rest = [p for p in parameters if p not in in_blocks]
        gathered = sum(map(nbytes, rest)) + sum(nbytes(p) for p in rest if p.requires_grad)
        share = sum(shard_of(p, processes) for p in trained)
        return Memory(sum(shard_of(p, processes) for p in parameters) + buffers, share, 2 * share, gathered + 4 * max(blocks))
    total = sum(map(nbytes, trained))
    moments = 2 * total if strategy is None else 2 * max(ceil(total / processes), *map(nbytes, trained))
    return Memory(sum(map(nbytes, parameters)) + buffers, total, moments, total if processes > 1 else 0)


def nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def shard_of(parameter: Tensor, processes: int) -> int:
    """Bytes of the first of so many pieces along the first dimension."""
    return nbytes(parameter) // len(parameter) * ceil(len(parameter) / processes)


def build(cfg: Config, arch: dict) -> nn.Module:
    """The method of a config around a transformer of another size, on the meta device."""
    model = dict(cfg.model, backbone=dict(cfg.model.backbone, arch=arch))
    with torch.device('meta'):
        return MODELS.build(model)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--processes', type=int, nargs='+', default=(8, 64))
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=list(SIZES))
    args = parser.parse_args(argv)
    runs = {f'{name} x {count}': (strategy, count) for name, strategy in (('DDP', None), ('ZeRO-1', 'zero1'), ('FSDP2', 'fsdp'))
            for count in (args.processes if strategy else args.processes[:1])}
    print(f'| method | ViT | trained, M | all, M | {" | ".join(runs)} |')
    print('|---' * (4 + len(runs)) + '|')
    for config in args.configs:
        for size in args.sizes:
            model = build(Config.fromfile(config), SIZES[size])
            counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or every) / 1e6 for every in (False, True)]
            kept = [memory(model, *run) for run in runs.values()]
            cells = [f'{sum(each[:3]) / 2**30:.1f} + {each.working / 2**30:.1f}' for each in kept]
            print(f'| {type(model).__name__} | {size} | {counts[0]:.0f} | {counts[1]:.0f} | {" | ".join(cells)} |')


if __name__ == '__main__':
    main()
