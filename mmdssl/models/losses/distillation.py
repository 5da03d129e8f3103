"""Cross-entropies between a teacher's and a student's distributions over prototypes."""
from __future__ import annotations

from functools import wraps

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Numbers in a tensor of exponentials that is summed at a time.
PIECE = 2**20


def full_precision(function):
    """Run a loss outside autocast, its tensors in fp32 or better."""

    @wraps(function)
    def wrapper(*args: Tensor | float | None, **options) -> Tensor:
        with torch.autocast(args[0].device.type, enabled=False):
            return function(*(a.to(torch.promote_types(a.dtype, torch.float32)) if isinstance(a, Tensor) and a.is_floating_point() else a
                              for a in args), **options)

    return wrapper


@full_precision
def cross_entropy(target: Tensor, logits: Tensor, overwrite: bool = False) -> Tensor:
    """``-sum_k p_k log softmax(s)_k = logsumexp(s) - <p, s>``, so that no log-softmax is stored.

    Args:
        target: Probabilities ``p``, ``(..., K)``, without a gradient; broadcast against the logits.
        logits: ``s``, ``(..., K)``.
        overwrite: Let the backward pass write the gradient over the logits: for those that nobody reads afterwards.

    Returns:
        ``(...)``, in nats.
    """
    return _CrossEntropies.apply(target[None], logits[None], overwrite)[0, 0]


@full_precision
def cross_view(target: Tensor, logits: Tensor, overwrite: bool = False) -> Tensor:
    """Mean cross-entropy over the pairs of a teacher's view and a different view of the student (DINO, Eq. 3).

    Args:
        target: Teacher's probabilities of the first T views, ``(T, B, K)``, without a gradient.
        logits: Student's logits of V >= T views, ``(V, B, K)``.
        overwrite: As in :func:`cross_entropy`.

    Returns:
        Scalar, the mean over the ordered pairs ``t != v`` and over the batch.
    """
    num_targets, num_views = len(target), len(logits)
    pairs = _CrossEntropies.apply(target, logits, overwrite)
    different = 1 - torch.eye(num_targets, num_views, device=logits.device)
    return (pairs.mean(-1) * different).sum() / (num_targets * (num_views - 1))


@full_precision
def masked_patches(target: Tensor, logits: Tensor, weight: Tensor, num_crops: int, overwrite: bool = False) -> Tensor:
    """Masked image modelling on prototypes: the mean over crops of each crop's mean over its masked patches (iBOT, Eq. 2).

    Args:
        target: Teacher's probabilities of the masked patches of all crops, ``(M, K)``.
        logits: Student's logits, ``(M, K)``.
        weight: ``(M,)``, one over the number of masked patches of the crop.
        num_crops: Crops in the batch; those without a masked patch count as 0.
        overwrite: As in :func:`cross_entropy`.

    Returns:
        Scalar.
    """
    return (cross_entropy(target, logits, overwrite) * weight).sum() / num_crops


class _CrossEntropies(torch.autograd.Function):
    """Of each of T distributions ``(T, ..., K)`` with each of V rows of logits ``(V, ..., K)``, ``(T, V, ...)``.

    The prototypes are so many that what is as wide as they are rules the memory of a step: here that is the logits, the targets and one
    gradient, ``sum_t g_t (softmax(s) - p_t)``, which may take the place of the logits. Autograd would make five.
    """

    @staticmethod
    def forward(ctx, target: Tensor, logits: Tensor, overwrite: bool) -> Tensor:
        pieces = logits.flatten(0, -2).split(max(PIECE // logits.shape[-1], 1))
        normalizer = torch.cat([piece.logsumexp(-1) for piece in pieces]).view(logits.shape[:-1])
        ctx.save_for_backward(target, logits, normalizer)
        ctx.overwrite = overwrite
        return torch.stack([normalizer - torch.einsum('...k,...k->...', p, logits) for p in target])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        target, logits, normalizer = ctx.saved_tensors
        of_logits = logits if ctx.overwrite else logits.clone()
        of_logits.sub_(normalizer[..., None]).exp_().mul_(grad.sum(0)[..., None])
        for p, g in zip(target, grad):
            of_logits.addcmul_(p, g[..., None], value=-1)
        return None, of_logits, None


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
        return (at_least_fp32(logits) - self.center).div_(temperature).softmax(-1)

    @torch.no_grad()
    def update(self, mean_logits: Tensor) -> None:
        """Move towards the mean logits ``(K,)`` of a batch, of all processes."""
        self.center.lerp_(at_least_fp32(mean_logits), 1 - self.momentum)
