"""BAM's loss in float64, one row and pair at a time, written from Eq. 1 to 5 of the paper."""
from __future__ import annotations

import torch
from torch import Tensor

TAU, EPSILON = 0.1, 0.05


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / ((a * a).sum().sqrt() * (b * b).sum().sqrt())


def matrix(rows: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """``exp(S / temperature)`` with 0 at positives; row ``(a, i)`` and column ``(b, j)``, ``(A n, B n)``."""
    n = rows.shape[1]
    return torch.stack([
        torch.stack([cosine(rows[a, i], keys[b, j]).div(temperature).exp() if i != j else torch.zeros((), dtype=torch.float64)
                     for b in range(len(keys)) for j in range(n)])
        for a in range(len(rows)) for i in range(n)])


def balance(powers: Tensor, iterations: int) -> Tensor:
    """Sinkhorn, multiplicative: columns, then rows."""
    for _ in range(iterations):
        powers = powers / powers.sum(0)
        powers = powers / powers.sum(1)[:, None]
    return powers


def bam(student: Tensor, teacher: Tensor | None, balanced_set: str = 'all', num_targets: int = 2, iterations: int = 3,
        top_k: int = 0) -> dict[str, Tensor]:
    """The loss and the entropies from the latents ``(V, n, D)`` of all images."""
    n, num_views = student.shape[1], len(student)
    seen = student if teacher is None else teacher
    keys = seen if balanced_set == 'full' else seen[:num_targets]
    rows = seen[:num_targets] if balanced_set == 'global' else seen
    source = matrix(student, keys, TAU)
    source = source / source.sum(1)[:, None]
    target = matrix(rows, keys, EPSILON).detach()
    target = balance(target, iterations) if iterations else target / target.sum(1)[:, None]
    target = target[:num_targets * n].clone()
    if top_k:
        for i in range(n):
            own = target[i::n]
            dropped = own.mean(0).argsort(descending=True)[top_k:]
            own[:, dropped] = 0
            own /= own.sum(1, keepdim=True)
    columns = {i: [c for c in range(source.shape[1]) if c % n != i] for i in range(n)}
    pairs = [-sum(target[t * n + i, c] * source[v * n + i, c].log() for c in columns[i])
             for t in range(num_targets) for v in range(num_views) if v != t for i in range(n)]
    return dict(loss_bam=sum(pairs) / len(pairs), entropy_source=mean_entropy(source), entropy_target=mean_entropy(target))


def mean_entropy(rows: Tensor) -> Tensor:
    rows = rows.detach()
    return -torch.where(rows > 0, rows * rows.clamp(min=1e-300).log(), 0.).sum(1).mean()
