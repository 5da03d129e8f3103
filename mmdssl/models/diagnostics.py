"""What the features of a batch tell of the health of a run."""
from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(features: Tensor) -> float:
    """How many directions features really use: ``exp(H(s / sum s))``, s the singular values of the centred features.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. It is an alarm and no score: a healthy run may lose a third of it in the first
    epochs while its k-NN climbs, and then keeps the rest; a dying run goes on falling towards 1.

    Args:
        features: ``(n, D)``.

    Returns:
        From 1 (all on one line, or all the same) to ``min(n, D)``.
    """
    features = features.double()
    spread = torch.linalg.svdvals(features - features.mean(0))
    spread = spread[spread > 1e-6 * features.norm()]  # below that it is the rounding of fp32 features
    shares = spread / spread.sum()
    return torch.special.entr(shares).sum().exp().item()


def code_perplexity(codes: Tensor, num_codes: int) -> float:
    """How many codes are in use: ``exp(H(p))``, p the share of each among ``codes``, integers of any shape below ``num_codes``."""
    counts = torch.bincount(codes.flatten(), minlength=num_codes).double()
    return torch.special.entr(counts / counts.sum()).sum().exp().item()
