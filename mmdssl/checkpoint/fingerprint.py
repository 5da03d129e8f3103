"""Short names for weights."""
from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def fingerprint_weights(network: nn.Module) -> str:
    """A short name for the parameters and buffers of a network."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
