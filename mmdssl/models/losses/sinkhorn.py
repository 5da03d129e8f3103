"""Balanced assignments to prototypes (SwAV; Cuturi, NeurIPS 2013)."""
from __future__ import annotations

import torch
from torch import Tensor

from mmdssl.models.losses.distillation import full_precision
from mmdssl.models.losses.gather import logsumexp_over_ranks


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, temperature: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignments of samples that use all prototypes equally, over the samples of all processes.

    Args:
        scores: ``(n, K)``, similarities of the n samples of this process to the K prototypes.
        temperature: epsilon of the entropy; the lower, the harder the assignment.
        iterations: In each, first every prototype and then every sample is given the same mass.

    Returns:
        ``(n, K)``, each row sums to 1.
    """
    logits = scores / temperature
    for _ in range(iterations):
        logits = logits - logsumexp_over_ranks(logits.logsumexp(0))
        logits = logits - logits.logsumexp(1, keepdim=True)
    return logits.exp()
