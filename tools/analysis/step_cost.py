"""What a training step costs beyond the bare backbone work: python tools/analysis/step_cost.py [METHOD ...] [--out FILE]

The bare work is the student's forward and backward and the teacher's forward of the global and local views that they see, each size by
itself, without stochastic depth, heads, losses, queries and the optimizer; every token goes through every block. The step is loss,
backward and the teacher's update, of views of noise with the config's sizes, boxes and masks.

Both are run turn by turn and timed by the processor time of this process, because a machine may be shared (on a GPU, by the clock). A
step is then compared with the bare work once more by operations, memory of tensors and kinds of kernels; the profiler takes those by the
clock, so that on a machine that others use their shares count, not the seconds. Each method appends a record.
"""
from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmdssl.cli.arguments import add_options

if TYPE_CHECKING:
    import torch

    from mmdssl.datasets import Views

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


class Method(NamedTuple):
    """A config, which of its views the teacher sees, options, and the largest ratio that we aim at."""
    config: str
    bar: float
    teacher_views: tuple[str, ...] = ('global', )
    options: dict | None = None


METHODS = {
    'pqcl': Method('pretrain/pqcl.py', 1.30),
    'dino-2': Method('pretrain/dino.py', 1.05, options={'train_dataloader.dataset.views.local': None}),
    'dino-2+10': Method('pretrain/dino.py', 1.05),
    'bam': Method('pretrain/bam.py', 1.12, ('global', 'local')),
}
MEMORY_BAR = 1.25
KINDS = {  # of kernels, by what their names contain; the first that fits
    'attention': ('scaled_dot_product', 'flash', 'fmha'),
    'matrix products': ('mm', 'conv', 'gemm', 'cutlass', 'dot', 'bmm'),
    'norms and activations': ('layer_norm', 'gelu', 'softmax'),
    'teacher and prototypes': ('lerp', 'weight_norm'),
    'copies, sums and the rest': ('', ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('methods', nargs='*', metavar='METHOD', help=f'of {", ".join(METHODS)}; all by default')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--steps', type=int, default=5, help='timed pairs of a step and the bare work, of which the median counts')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--amp', choices=['bf16', 'fp16'])
    parser.add_argument('--no-profile', action='store_true', help='only time')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/step_cost.jsonl'), help='file of records')
    add_options(parser)
    args = parser.parse_args(argv)
    unknown = set(args.methods) - set(METHODS)
    if unknown:
        parser.error(f'there is no method {", ".join(sorted(unknown))}: choose from {", ".join(METHODS)}')
    from mmdssl.results.records import append_record
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.methods or METHODS:
        metrics, profile = measure(METHODS[name], args)
        append_record(args.out, task='step-cost', method=name, batch_size=args.batch_size, threads=args.threads, amp=args.amp,
                      steps=args.steps, options=dict(args.cfg_options), metrics=metrics, profile=profile)
        print(f'{name}: {metrics["ratio"]:.3f} times the bare work ({metrics["lowest"]:.3f} to {metrics["highest"]:.3f} in {args.steps} '
              f'pairs, bar {METHODS[name].bar:.2f}), step {metrics["step_seconds"]:.2f} s, bare {metrics["bare_seconds"]:.2f} s')
        if profile:
            print(f'  {metrics["operations"]:.3f} times the operations, {metrics["memory"]:.2f} times the memory (bar {MEMORY_BAR:.2f}: '
                  f'{metrics["step_mib"]:.0f} and {metrics["bare_mib"]:.0f} MiB)')
        whole = sum(bare for _, bare in profile.values())
        for kind, (step, bare) in profile.items():
            print(f'  {kind:26}{step:8.2f} s, bare {bare:6.2f} s, {(step - bare) / whole:+7.1%} of the bare work')
        sys.stdout.flush()
    return 0


def measure(method: Method, args: argparse.Namespace) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Ratios, and seconds by kind of kernel of a step and of the bare work."""
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device

    from mmdssl.engine.optim_wrapper import autocast
    from mmdssl.registry import MODELS
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIGS / method.config)
    cfg.merge_from_dict({**(method.options or {}), **args.cfg_options})
    device = torch.device(get_device())
    views = noise(cfg.train_dataloader.dataset.views, args.batch_size).to(device)
    algorithm = MODELS.build(cfg.model).to(device).train()
    backbone = {**cfg.model.backbone, 'drop_path_rate': 0.}
    student, teacher = (MODELS.build(backbone).to(device).train() for _ in range(2))
    groups = {name: views[name].images.flatten(0, 1) for name in ('global', 'local') if name in views}

    def step() -> None:
        with autocast(device, args.amp):
            total, _ = algorithm.parse_losses(algorithm(views))
        total.backward()
        algorithm.zero_grad()
        algorithm.after_step()

    def bare() -> None:
        with autocast(device, args.amp):
            with torch.no_grad():
                for name in method.teacher_views:
                    if name in groups:
                        teacher.features(groups[name])
            total = sum(student.features(images).float().sum() for images in groups.values())
        total.backward()
        student.zero_grad()

    # Turn by turn, so that a busy machine slows both alike.
    pairs = [(seconds(step, device), seconds(bare, device)) for _ in range(args.steps + 1)][1:]
    ratios = [whole / base for whole, base in pairs]
    metrics = dict(ratio=statistics.median(ratios), lowest=min(ratios), highest=max(ratios),
                   step_seconds=statistics.median(pair[0] for pair in pairs), bare_seconds=statistics.median(pair[1] for pair in pairs))
    if args.no_profile:
        return metrics, {}
    of_step, of_bare = profiled(step, [algorithm], device), profiled(bare, [student, teacher], device)
    metrics.update(operations=of_step[0] / of_bare[0], memory=of_step[1] / of_bare[1],
                   step_mib=of_step[1] / 2**20, bare_mib=of_bare[1] / 2**20)
    return metrics, {kind: (of_step[2][kind], of_bare[2][kind]) for kind in KINDS}


def profiled(function: Callable[[], None], modules: list[torch.nn.Module], device: torch.device) -> tuple[int, int, dict[str, float]]:
    """Operations, the most bytes in tensors, those of the modules included, and seconds by kind of kernel."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode
    on_gpu = device.type == 'cuda'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity], profile_memory=not on_gpu) as record, FlopCounterMode(display=False) as counter:
        seconds(function, device)
    kinds = dict.fromkeys(KINDS, 0.)
    for event in record.key_averages():
        kind = next(kind for kind, words in KINDS.items() if any(word in event.key for word in words))
        kinds[kind] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
    if on_gpu:
        used = torch.cuda.max_memory_allocated() - before
    else:
        used = total = 0
        events = [event for event in record.profiler.kineto_results.events() if event.name() == '[memory]']
        for event in sorted(events, key=lambda event: event.start_ns()):
            total += event.nbytes()
            used = max(used, total)
    own = {tensor.data_ptr(): tensor.nbytes for module in modules for tensor in (*module.parameters(), *module.buffers())}
    return counter.get_total_flops(), used + sum(own.values()), kinds


def noise(recipes: dict, batch_size: int) -> Views:
    """Views of noise, with the sizes, boxes and masks that the config's recipes give."""
    import torch
    from PIL import Image

    from mmdssl.datasets import Views
    from mmdssl.registry import TRANSFORMS
    crops = {name.rstrip('_'): TRANSFORMS.build(recipe) for name, recipe in recipes.items() if recipe}
    samples = []
    for index in range(batch_size):
        image = Image.effect_noise((320, 256), 64).convert('RGB')
        samples.append(Views({name: crop(image) for name, crop in crops.items()}, torch.tensor(index)))
    views = Views.collate(samples)
    for group in views.values():
        group.images = group.images / 128 - 1
    return views


def seconds(function: Callable[[], None], device: torch.device) -> float:
    """By the clock on a GPU, else of this process on its processors."""
    import torch
    if device.type != 'cuda':
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == '__main__':
    sys.exit(main())
