"""Tensors of all processes, with gradients that find their way back."""
from __future__ import annotations

import torch
from mmengine.dist import all_gather, all_reduce, get_rank
from torch import Tensor


def gather(x: Tensor) -> Tensor:
    """The tensors of equal shape ``(...)`` of all W processes, ``(W, ...)`` by rank.

    Differentiable: the gradient of what a process gave is the sum of what all processes ask of it. Where each process
    averages its loss over its own rows, ``DistributedDataParallel`` makes of it the gradient of the mean over all rows.
    """
    return _Gather.apply(x)


class _Gather(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.stack(all_gather(x.contiguous()))

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)
        all_reduce(grad)
        return grad[get_rank()]


def logsumexp_over_ranks(x: Tensor) -> Tensor:
    """``log sum exp`` over processes, elementwise and without a gradient."""
    largest = x.clone()
    all_reduce(largest, 'max')
    powers = (x - largest).exp()
    all_reduce(powers)
    return largest + powers.log()


def total(x: Tensor) -> Tensor:
    """The sum over processes. Its gradient is the sum, too, as that of :func:`gather`."""
    return _Total.apply(x)


class _Total(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _Total.forward(ctx, grad)
