"""Is one forward for views of two sizes faster than one for each? python tools/analysis/joint_views.py [--out FILE]

Norms, linear layers and MLPs then run on the tokens of all views together, and only the attention on each size by itself. The same
numbers come out. Kernels are half as many and twice as large, and the outputs of the attention are copied together. Forward and
backward of the blocks, turn by turn, timed by the processor time of this process, or on a GPU by the clock.
"""
from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from step_cost import seconds
from torch import Tensor, nn

from mmdssl.engine.optim_wrapper import autocast
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES
from mmdssl.models.layers.attention import QueryBlock
from mmdssl.results.records import append_record

VIEWS = ((2, 1 + 14**2), (10, 1 + 6**2))  # number and tokens of a view, at patches of 16 px


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', choices=ARCHITECTURES, default='small')
    parser.add_argument('--depth', type=int, default=2, help='blocks')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 8], help='images')
    parser.add_argument('--steps', type=int, default=10, help='timed pairs, of which the median counts')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--amp', choices=['bf16', 'fp16'])
    parser.add_argument('--out', type=Path, default=Path('work_dirs/joint_views.jsonl'), help='file of records')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device, arch = torch.device(get_device()), ARCHITECTURES[args.arch]
    blocks = nn.ModuleList(
        QueryBlock(arch['embed_dim'], arch['num_heads'], mlp_ratio=4., qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
        for _ in range(args.depth)).to(device)
    args.out.parent.mkdir(parents=True, exist_ok=True)

    def step(forward: Callable, groups: list[Tensor]) -> None:
        with autocast(device, args.amp):
            outputs = forward(blocks, groups)
        torch.cat([x[:, 0] for x in outputs]).float().sum().backward()
        blocks.zero_grad()

    for batch_size in args.batch_sizes:
        groups = [torch.randn(number * batch_size, length, arch['embed_dim'], device=device) for number, length in VIEWS]
        pairs = [[seconds(partial(step, forward, groups), device) for forward in (together, one_by_one)]
                 for _ in range(args.steps + 1)][1:]
        ratios = [joint / each for joint, each in pairs]
        metrics = dict(ratio=statistics.median(ratios), lowest=min(ratios), highest=max(ratios),
                       separate_seconds=statistics.median(each for _, each in pairs))
        append_record(args.out, task='joint-views', arch=args.arch, depth=args.depth, batch_size=batch_size, threads=args.threads,
                      amp=args.amp, steps=args.steps, metrics=metrics)
        print(f'batch {batch_size}: together {metrics["ratio"]:.3f} times the time of one by one ({metrics["lowest"]:.3f} to '
              f'{metrics["highest"]:.3f} in {args.steps} pairs), which take {metrics["separate_seconds"]:.3f} s', flush=True)
    return 0


def one_by_one(blocks: nn.ModuleList, groups: list[Tensor]) -> list[Tensor]:
    """Tokens ``(B, L, D)`` of each size through the blocks."""
    for block in blocks:
        groups = [block(x) for x in groups]
    return groups


def together(blocks: nn.ModuleList, groups: list[Tensor]) -> list[Tensor]:
    """The same with the tokens of all sizes in one matrix."""
    shapes = [x.shape[:2] for x in groups]
    x = torch.cat([x.flatten(0, 1) for x in groups])
    for block in blocks:
        attended = []
        for qkv in split(block.attn.qkv(block.norm1(x)), shapes):
            q, k, v = qkv.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
            attended.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1))
        x = x + block.attn.proj(torch.cat(attended))
        x = x + block.mlp(block.norm2(x))
    return split(x, shapes)


def split(rows: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    """Rows ``(sum of B L, D)`` to ``(B, L, D)`` of each size."""
    return [part.unflatten(0, shape) for part, shape in zip(rows.split([shape.numel() for shape in shapes]), shapes)]


if __name__ == '__main__':
    sys.exit(main())
