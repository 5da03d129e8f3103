"""Balanced self-attention matching (Shalam and Korman, ECCV 2024)."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmdssl.arguments import NonNegativeInt, Positive, PositiveInt, checked
from mmdssl.errors import InputError
from mmdssl.models.losses.distillation import cross_entropy, cross_view
from mmdssl.models.losses.gather import gather, logsumexp_over_ranks

BALANCED_SETS = ('all', 'global', 'full')
# Minus infinity among similarities: its exponential is 0 at any temperature, and its product with 0 is 0, not NaN.
REMOVED = -1e30
# Numbers in a tensor that is worked on at a time.
PIECE = 2**20

# Makes the rows of some images, of the first views or of all: ``(views, images, columns)``.
Rows = Callable[..., Tensor]


@checked
class BalancedAttention(nn.Module):
    """Every view of an image attends to the other images as the other views of that image do, once attention is balanced.

    The similarity matrix S holds cosines. A row is a view of one of the n images of all processes, a column a view of such an image
    that serves as key; positives, the columns of the row's own image, are removed (Eq. 3). The source of a row is its
    attention ``A = softmax(S / tau)`` (Eq. 1), its target the row of ``B``, the doubly stochastic matrix closest to
    ``softmax(S / epsilon)`` (Eq. 4, Sinkhorn's iterations in the log domain). The loss is the cross-entropy between the target
    of one view and the source of another (Eq. 5).

    Args:
        source_temperature: tau.
        balanced_set: What is balanced where only some views are target views: the rows of ``'all'`` views, with target views as
            keys (the authors' code); ``'global'``, the rows of target views alone; or ``'full'``, all rows with all views as keys.
        iterations: Of Sinkhorn. 0 does not balance, the target is ``softmax(S / epsilon)``; with epsilon = tau that is Eq. 2, which
            collapses.
        top_k: Keep an image's k largest targets, by their mean over target views, and renormalise; 0 keeps all.
        max_elements: Largest matrix of similarities that a process keeps. A larger one is made anew, piece by piece, in each
            iteration and for the loss; the result is the same.

    Raises:
        InputError: A batch has a single image.
    """

    def __init__(self, source_temperature: Positive = 0.1, balanced_set: Literal[BALANCED_SETS] = 'all',
                 iterations: NonNegativeInt = 3, top_k: NonNegativeInt = 0, max_elements: PositiveInt = 2**24):
        super().__init__()
        self.source_temperature = source_temperature
        self.balanced_set = balanced_set
        self.iterations = iterations
        self.top_k = top_k
        self.max_elements = max_elements

    def forward(self, student: Tensor, teacher: Tensor | None = None, num_targets: int = 2,
                target_temperature: float = 0.05) -> dict[str, Tensor]:
        """
        Args:
            student: Latents ``(V, B, D)`` of V views of the B images of this process, target views first.
            teacher: A teacher's latents of the same views (of the target views, with ``'global'``): it then has the rows of
                the targets and all keys. Without a teacher they are the student's, and the keys get a gradient, too.
            num_targets: Target views T.
            target_temperature: epsilon.

        Returns:
            ``loss_bam``, the mean over the images of this process and the ``T (V - 1)`` pairs of different views; without a
            gradient the mean entropies ``entropy_source`` and ``entropy_target`` and the mean divergence ``kl``; in nats.
        """
        with torch.autocast(student.device.type, enabled=False):
            student = _at_least_fp32(student)
            observed = student if teacher is None else _at_least_fp32(teacher)
            keys = self._keys(observed, num_targets)
            columns, size = keys.flatten(0, 1).shape
            piece = max(min(self.max_elements, PIECE) // (len(student) * max(columns, size)), 1)
            rows_of = partial(_rows_of, keys=keys.detach(), piece=piece)
            target = rows_of(observed.detach(), keep=observed[..., 0].numel() * columns <= self.max_elements)
            source = target if teacher is None else rows_of(student.detach(), keep=False)
            num_rows = num_targets if self.balanced_set == 'global' else len(observed)
            with torch.no_grad():
                correction = sinkhorn(
                    lambda: (rows(num_rows).flatten(0, 1) / target_temperature for rows in target), self.iterations)
            terms = partial(self._terms, correction, num_targets, target_temperature)
            means = _Matching.apply(student, keys, source, target, terms)
        cross, entropy_source, entropy_target = means.detach()
        return dict(loss_bam=means[0], entropy_source=entropy_source, entropy_target=entropy_target, kl=cross - entropy_target)

    def _keys(self, observed: Tensor, num_targets: int) -> Tensor:
        """Of length 1, of K views of the images of all processes, in the order of ranks, ``(K, n, D)``."""
        num_keys = len(observed) if self.balanced_set == 'full' else num_targets
        keys = gather(_unit(observed[:num_keys])).transpose(0, 1).flatten(1, 2)
        if keys.shape[1] < 2:
            raise InputError('an image is compared with the other images of its batch, but there is no other: raise '
                             'train_dataloader.batch_size')
        return keys

    def _terms(self, correction: Tensor | float, num_targets: int, temperature: float, source: Tensor, target: Rows) -> Tensor:
        """Loss, entropy of the source and entropy of the target, each summed over the images of these rows."""
        with torch.no_grad():
            probability = (target(num_targets) / temperature - correction).softmax(-1)
            if self.top_k:
                probability = _keep_largest(probability, self.top_k)
        logits = source / self.source_temperature
        loss = cross_view(probability, logits)
        with torch.no_grad():
            entropy_source = cross_entropy(logits.softmax(-1), logits).mean()
            entropy_target = torch.special.entr(probability).sum(-1).mean()
        return torch.stack([loss, entropy_source, entropy_target]) * source.shape[1]


class _Matching(torch.autograd.Function):
    """Means of terms over images, with the gradient of the first, which is made piece by piece while the rows of S are there."""

    @staticmethod
    def forward(ctx, student: Tensor, keys: Tensor, source: list[Rows], target: list[Rows], terms: Callable) -> Tensor:
        of_student = torch.empty_like(student)
        of_keys = keys.new_zeros(keys.shape) if ctx.needs_input_grad[1] else None
        sums, first = 0., 0
        for make_rows, targets in zip(source, target):
            rows = make_rows().detach().requires_grad_()
            images = slice(first, first := first + rows.shape[1])
            latents = student[:, images].detach().requires_grad_()
            with torch.enable_grad():
                unit = _unit(latents)
                values = terms(rows, targets)
                of_rows, = torch.autograd.grad(values[0], rows)
            of_student[:, images], = torch.autograd.grad(unit, latents, of_rows @ keys.flatten(0, 1))
            if of_keys is not None:
                of_keys.flatten(0, 1).addmm_(of_rows.flatten(0, 1).T, unit.detach().flatten(0, 1))
            sums = sums + values.detach()
        ctx.save_for_backward(of_student, of_keys)
        ctx.num_images = student.shape[1]
        return sums / ctx.num_images

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad[0] / ctx.num_images
        return *(None if gradient is None else gradient.mul_(scale) for gradient in ctx.saved_tensors), None, None, None


def sinkhorn(matrix: Callable[[], Iterable[Tensor]], iterations: int) -> Tensor | float:
    """Balance ``exp(L)``, whose rows are spread over processes, in the log domain: divide columns, then rows, by their sums, and again.

    Args:
        matrix: Gives this process's rows of L, some ``(rows, C)`` at a time, whenever it is called.
        iterations: 0 leaves the columns alone.

    Returns:
        What to subtract from the columns of L, ``(C,)``: the rows of the balanced matrix are the softmax of the rest.
    """
    correction: Tensor | float = 0.
    for iteration in range(iterations):
        sums = None
        for rows in matrix():
            if iteration:
                rows = (rows - correction).log_softmax(1)
            own = rows.logsumexp(0)
            sums = own if sums is None else torch.logaddexp(sums, own)
        correction = correction + logsumexp_over_ranks(sums)
    return correction


def similarity(latents: Tensor, keys: Tensor, images: Tensor, num_views: int | None = None) -> Tensor:
    """Rows of S without positives.

    Args:
        latents: ``(V, B, D)``.
        keys: Of length 1, of K views of the n images of all processes, ``(K, n, D)``.
        images: Which of the n images the latents belong to, ``(B,)``.
        num_views: Only the rows of so many views.

    Returns:
        ``(V, B, K n)``.
    """
    positives = images[:, None] == torch.arange(keys.shape[1], device=images.device)
    cosines = _unit(latents[:num_views]) @ keys.flatten(0, 1).T
    return cosines.masked_fill_(positives.repeat(1, len(keys)), REMOVED)


def _rows_of(latents: Tensor, keys: Tensor, piece: int, keep: bool) -> list[Rows]:
    """The rows of S of so many images each, made now and kept, or made whenever they are asked for."""
    images = torch.arange(latents.shape[1], device=latents.device) + get_rank() * latents.shape[1]
    rows = [partial(similarity, part, keys, some) for part, some in zip(latents.split(piece, 1), images.split(piece))]
    return [partial(_first_views, make()) for make in rows] if keep else rows


def _first_views(rows: Tensor, num_views: int | None = None) -> Tensor:
    return rows[:num_views]


def _at_least_fp32(latents: Tensor) -> Tensor:
    return latents.to(torch.promote_types(latents.dtype, torch.float32))


def _unit(latents: Tensor) -> Tensor:
    return F.normalize(latents, dim=-1)


def _keep_largest(probability: Tensor, k: int) -> Tensor:
    """Rows ``(T, B, C)`` with only the k columns that are largest for an image in the mean over views, renormalised."""
    columns = probability.mean(0).topk(min(k, probability.shape[-1])).indices
    probability = probability * torch.zeros_like(probability[0]).scatter_(-1, columns, 1.)
    return probability / probability.sum(-1, keepdim=True)
