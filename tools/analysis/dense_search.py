"""Memory and time of the search of Hummingbird's neighbours, and what they mean for VOC 2012 and ADE20K.

    python tools/analysis/dense_search.py --keys 1000000 --dim 384 --queries 1024

The neighbours of some queries are compared with those of a search by brute force in float64. Time on a GPU is computed, not measured: the
products at a rate, and their passing through its memory three times (written, and read twice for the largest) at a bandwidth.
"""
from __future__ import annotations

import argparse
import os
import time

import torch
from mmengine.device import get_device
from torch.nn.functional import normalize

from mmdssl.engine.log_processor import peak_memory
from mmdssl.protocols.dense_knn import PRECISIONS, PatchMemory

# Memory, and patches and classes of the queries: images of 512 px in patches of 16.
TASKS = {'VOC 2012': (10_240_000, 1449 * 1024, 21), 'ADE20K': (10_240_000, 2000 * 1024, 150)}
CLASSES, TIMES_THROUGH_MEMORY = 21, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--keys', type=int, default=1_000_000)
    parser.add_argument('--dim', type=int, default=384)
    parser.add_argument('--queries', type=int, default=1024)
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument('--compared', type=int, default=64, help='queries whose neighbours are compared with brute force')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--tflops', type=float, default=400., help='rate of a GPU that is extrapolated to, in bf16')
    parser.add_argument('--bandwidth', type=float, default=3., help='the same of its memory, TB/s')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(get_device())
    keys = torch.empty(args.keys, args.dim, dtype=PRECISIONS[args.precision], device=device)
    for part in keys.split(1 << 14):  # so that the peak is not that of making them
        part[:] = normalize(torch.randn(part.shape, device=device), dim=1)
    counts = torch.zeros(args.keys, CLASSES + 1, dtype=torch.uint8, device=device)
    counts[torch.arange(args.keys, device=device), torch.randint(CLASSES, (args.keys, ), device=device)] = 255
    queries = torch.randn(args.queries, args.dim, device=device)
    memory = PatchMemory(keys, counts)
    held = (keys.nbytes + counts.nbytes) / 2**20
    print(f'{args.keys} keys of {args.dim} in {args.precision} and their labels: {held:.0f} MiB, on {device}, {args.threads} threads')
    before, load = peak_memory(), os.getloadavg()[0]
    start, cpu = time.perf_counter(), time.process_time()
    memory.soft_labels(queries)
    if device.type == 'cuda':
        torch.cuda.synchronize()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    flop = 2 * args.keys * args.queries * args.dim
    print(f'{args.queries} queries: {seconds:.1f} s ({cpu:.1f} s of CPU), {flop / cpu / 1e9:.0f} GFLOP per second of CPU, at most '
          f'{peak_memory() - before} MiB beyond the memory; load of the machine before: {load:.1f}')
    print(f'the same neighbours as by brute force: {same_neighbours(memory, queries[:args.compared])} of '
          f'{min(args.compared, args.queries)} queries')
    for name, (size, number, classes) in TASKS.items():
        flop, products = 2 * size * number * args.dim, size * number
        gpu = flop / args.tflops / 1e12 + TIMES_THROUGH_MEMORY * 4 * products / args.bandwidth / 1e12
        print(f'{name}: {size:,} keys in bf16 {2 * size * args.dim / 1e9:.1f} GB, labels {size * (classes + 1) / 1e9:.2f} GB; '
              f'{number:,} queries, {flop:.1e} FLOP: {gpu / 60:.1f} minutes at {args.tflops:.0f} TFLOP/s and {args.bandwidth:.1f} TB/s, '
              f'{cpu / args.threads * (size / args.keys) * (number / args.queries) / 3600:.0f} hours here, if nothing else runs')


def same_neighbours(memory: PatchMemory, queries: torch.Tensor) -> int:
    """How many have the same neighbours as by a search in float64 in one piece."""
    exact = normalize(queries, dim=1).to(memory.keys.dtype).double()
    cosines = torch.cat([exact @ part.double().T for part in memory.keys.split(1 << 16)], 1)
    wanted = cosines.topk(memory.k).indices.sort(1).values
    return int((memory.neighbours(queries)[1].sort(1).values == wanted).all(1).sum())


if __name__ == '__main__':
    main()
