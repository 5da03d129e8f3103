"""Cross-entropies between a teacher's and a student's distributions over prototypes."""
from __future__ import annotations

from functools import wraps

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def full_precision(function):
    """Run a loss outside autocast, its tensors in fp32 or better."""

    @wraps(function)
    def wrapper(*args: Tensor | float | None, **options) -> Tensor:
        with torch.autocast(args[0].device.type, enabled=False):
            return function(*(a.to(torch.promote_types(a.dtype, torch.float32)) if isinstance(a, Tensor) and a.is_floating_point() else a
                              for a in args), **options)

    return wrapper


@full_precision
def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """``-sum_k p_k log softmax(s)_k = logsumexp(s) - <p, s>``, so that no log-softmax is stored.

    Args:
        target: Probabilities ``p``, ``(..., K)``, without a gradient; broadcast against the logits.
        logits: ``s``, ``(..., K)``.

    Returns:
        ``(...)``, in nats.
    """
    return _CrossEntropies.apply(target[None], logits[None])[0, 0]


@full_precision
def cross_view(target: Tensor, logits: Tensor) -> Tensor:
    """Mean cross-entropy over the pairs of a teacher's view and a different view of the student (DINO, Eq. 3).

    Args:
        target: Teacher's probabilities of the first T views, ``(T, B, K)``, without a gradient.
        logits: Student's logits of V >= T views, ``(V, B, K)``.

    Returns:
        Scalar, the mean over the ordered pairs ``t != v`` and over the batch.
    """
    num_targets, num_views = len(target), len(logits)
    pairs = _CrossEntropies.apply(target, logits)
    different = 1 - torch.eye(num_targets, num_views, device=logits.device)
    return (pairs.mean(-1) * different).sum() / (num_targets * (num_views - 1))


@full_precision
def masked_patches(target: Tensor, logits: Tensor, weight: Tensor, num_crops: int) -> Tensor:
    """Masked image modelling on prototypes: the mean over crops of each crop's mean over its masked patches (iBOT, Eq. 2).

    Args:
        target: Teacher's probabilities of the masked patches of all crops, ``(M, K)``.
        logits: Student's logits, ``(M, K)``.
        weight: ``(M,)``, one over the number of masked patches of the crop.
        num_crops: Crops in the batch; those without a masked patch count as 0.

    Returns:
        Scalar.
    """
    return (cross_entropy(target, logits) * weight).sum() / num_crops


class _CrossEntropies(torch.autograd.Function):
    """Of each of T distributions ``(T, ..., K)`` with each of V rows of logits ``(V, ..., K)``, ``(T, V, ...)``.

    The prototypes are so many that what is as wide as they are rules the memory of a step: here that is the logits, the targets and one
    gradient, ``sum_t g_t (softmax(s) - p_t)``, where autograd would make five.
    """

    @staticmethod
    def forward(ctx, target: Tensor, logits: Tensor) -> Tensor:
        normalizer = logits.logsumexp(-1)
        ctx.save_for_backward(target, logits, normalizer)
        return torch.stack([normalizer - torch.linalg.vecdot(p, logits) for p in target])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[None, Tensor]:
        target, logits, normalizer = ctx.saved_tensors
        of_logits = (logits - normalizer[..., None]).exp_().mul_(grad.sum(0)[..., None])
        for p, g in zip(target, grad):
            of_logits.addcmul_(p, g[..., None], value=-1)
        return None, of_logits


def at_least_fp32(x: Tensor) -> Tensor:
    """In fp32; float64 stays what it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Center(nn.Module):
    """The running mean of a teacher's logits that keeps one prototype from winning everywhere (DINO, Eq. 4).

    Args:
        num_prototypes: K.
        momentum: Of the running mean.
    """

    def __init__(self, num_prototypes: int, momentum: float = 0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('center', torch.zeros(num_prototypes))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Logits ``(..., K)`` to probabilities ``softmax((t - c) / temperature)`` in fp32."""
        return ((at_least_fp32(logits) - self.center) / temperature).softmax(-1)

    @torch.no_grad()
    def update(self, mean_logits: Tensor) -> None:
        """Move towards the mean logits ``(K,)`` of a batch, of all processes."""
        self.center.lerp_(at_least_fp32(mean_logits), 1 - self.momentum)
