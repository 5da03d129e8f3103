"""Stochastic depth that does not compute what it drops (Huang et al., ECCV 2016)."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Kept(NamedTuple):
    """Samples of a batch for which a residual branch is kept.

    Attributes:
        weight: Factor of the branch of each sample, 0 where it is dropped, ``(B,)``.
        index: Samples that are kept, ``(n,)``; None where their number is not known without waiting for the device.
        scale: Factor of their branches, so that the expectation is that of the whole branch.
    """
    weight: Tensor
    index: Tensor | None
    scale: float


def draw(x: Tensor, rate: float, subset: bool = False) -> Kept | None:
    """Decide for each sample of ``(B, ...)`` whether a branch is dropped; None where there is nothing to decide.

    Args:
        x: The batch.
        rate: Probability of being dropped.
        subset: Drop a fixed number, ``rate * B`` rounded, drawn anew each time (DINOv2), so that a GPU need not compute what is dropped
            either. Otherwise each sample is decided alone, by the draws of timm's ``DropPath``.
    """
    if not rate:
        return None
    count = len(x)
    if subset:
        num_kept = max(count - round(rate * count), 1)
        index, scale = torch.randperm(count, device=x.device)[:num_kept], count / num_kept
        return Kept(x.new_zeros(count).index_fill(0, index, scale), index, scale)
    scale = 1 / (1 - rate) if rate < 1 else 1.
    weight = x.new_empty(count).bernoulli_(1 - rate).div_(1 / scale)
    known = x.device.type == 'cpu' and not torch.compiler.is_compiling()
    return Kept(weight, weight.nonzero().squeeze(1) if known else None, scale)


def add_branch(x: Tensor, branch: Callable[[Tensor], Tensor], kept: Kept | None, first: int | None = None) -> Tensor:
    """``x`` plus its residual branch, computed only for the samples that keep it where they are known.

    Args:
        x: ``(B, L, D)``.
        branch: Of some samples ``(n, L, D)``.
        kept: Of :func:`draw`.
        first: The branch gives, and the result has, only so many tokens of each sample.
    """
    rows = x[:, :first]
    if kept is None:
        return rows + branch(x)
    if kept.index is None:
        return rows + scaled(branch(x), kept)
    if len(kept.index) == len(x):
        return torch.add(rows, branch(x), alpha=kept.scale)
    index, scale = (kept.index, kept.scale) if len(kept.index) else (kept.index.new_zeros(1), 0.)  # gradients are zero, not None
    part = branch(x[index])
    dtype = torch.promote_types(rows.dtype, part.dtype)
    return _AddSome.apply(rows.to(dtype), index, part.to(dtype), scale)


def scaled(branch: Tensor, kept: Kept | None, owner: Tensor | None = None) -> Tensor:
    """A branch ``(B, ...)`` with 0 where it is dropped, or the rows ``(R, ...)`` of it that belong to the samples of ``owner``."""
    if kept is None:
        return branch
    weight = kept.weight if owner is None else kept.weight[owner]
    return branch * weight.to(branch.dtype).reshape(-1, *[1] * (branch.ndim - 1))


class _AddSome(torch.autograd.Function):
    """``index_add``, which would keep the branch for the backward pass, although its gradient does not depend on it."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, part: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(index)
        ctx.scale = scale
        return x.index_add(0, index, part, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        index, = ctx.saved_tensors
        return grad, None, grad.index_select(0, index).mul_(ctx.scale), None
