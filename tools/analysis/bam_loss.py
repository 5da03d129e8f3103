"""Memory and time of BAM's loss, forward and backward in one process, against the plain formulation.

The plain one keeps dense matrices: a log-softmax, the exponentials that Sinkhorn's iterations divide, and a product for each pair of
views. Each runs in a process of its own, so that its peak of memory can be told; latents are there before it is counted.
"""
from __future__ import annotations

import argparse
import multiprocessing
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FORMULATIONS = ('plain', 'ours', 'ours, in pieces')
NUM_TARGETS, SOURCE, TARGET, ITERATIONS = 2, 0.1, 0.05, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--views', type=int, default=8)
    parser.add_argument('--dim', type=int, default=4096)
    parser.add_argument('--steps', type=int, default=5, help='timed repetitions, of which the fastest counts')
    args = parser.parse_args()
    from mmengine.device import get_device
    print(f'{args.views} views of {args.batch_size} images, {args.dim} dimensions, on {get_device()}')
    print(f'{"":32}{"MiB":>8}{"ms":>8}{"loss":>12}{"gradient":>12}')
    for teacher in (True, False):
        for name in FORMULATIONS:
            with multiprocessing.get_context('spawn').Pool(1) as pool:
                memory, seconds, loss, gradient = pool.apply(measure, (name, teacher, args))
            label = f'{name}, {"with a" if teacher else "without"} teacher'
            print(f'{label:32}{memory:>8}{1000 * seconds:>8.0f}{loss:>12.6f}{gradient:>12.6f}')


def measure(name: str, with_teacher: bool, args: argparse.Namespace) -> tuple[int, float, float, float]:
    """Peak memory beyond the latents in MiB, seconds of a step, the loss and the length of its gradient."""
    import torch
    from mmengine.device import get_device

    from mmdssl.engine.log_processor import peak_memory
    from mmdssl.models.losses.balanced_attention import BalancedAttention
    torch.manual_seed(0)
    shape, device = (args.views, args.batch_size, args.dim), torch.device(get_device())
    images = torch.randn(shape[1:], device=device)
    student = torch.randn(shape, device=device).add_(images).requires_grad_()
    teacher = torch.randn(shape, device=device).add_(images) if with_teacher else None
    # Half of the similarities: too few for the matrix to be kept.
    limit = dict(max_elements=args.views * args.batch_size**2 * NUM_TARGETS // 2) if name == 'ours, in pieces' else {}
    loss = plain if name == 'plain' else BalancedAttention(SOURCE, iterations=ITERATIONS, **limit)

    def step() -> Tensor:
        student.grad = None
        value = loss(student, teacher, NUM_TARGETS, TARGET)
        value = value['loss_bam'] if isinstance(value, dict) else value
        value.backward()
        return value.detach()

    # Kernels allocate working memory when they first run, which is not the loss's.
    (images[:2] @ images[:2].T).sum().item()
    before = peak_memory()
    value = step().item()
    memory = peak_memory() - before
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step().item()
        times.append(time.perf_counter() - start)
    return memory, min(times), value, student.grad.norm().item()


def plain(student: Tensor, teacher: Tensor | None, num_targets: int, temperature: float) -> Tensor:
    """Eq. 1 to 5 as they stand."""
    import torch
    import torch.nn.functional as F
    num_views, batch = student.shape[:2]
    queries = F.normalize(student, dim=-1).flatten(0, 1)
    observed = queries if teacher is None else F.normalize(teacher, dim=-1).flatten(0, 1)
    keys = observed[:num_targets * batch]
    image = torch.arange(batch, device=student.device)
    positives = image.repeat(num_views)[:, None] == image.repeat(num_targets)
    lowest = torch.finfo(queries.dtype).min
    similarity = queries @ keys.T
    source = (similarity / SOURCE).masked_fill(positives, lowest).log_softmax(-1)
    with torch.no_grad():
        balanced = ((similarity if teacher is None else observed @ keys.T) / temperature).masked_fill(positives, lowest)
        balanced = (balanced - balanced.max()).exp()
        for _ in range(ITERATIONS):
            balanced = balanced / balanced.sum(0, keepdim=True)
            balanced = balanced / balanced.sum(1, keepdim=True)
    source = source.masked_fill(positives, 0).unflatten(0, (num_views, batch))
    balanced = balanced.unflatten(0, (num_views, batch))
    pairs = [-(balanced[t] * source[v]).sum(-1).mean() for t in range(num_targets) for v in range(num_views) if t != v]
    return torch.stack(pairs).mean()


if __name__ == '__main__':
    main()
