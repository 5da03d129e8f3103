"""Names for weights: short ones for records, whole ones that a file of ours states of its tensors."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmdssl.errors import InputError

STATED = 'mmdssl_sha256'


def fingerprint_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> str:
    """SHA-256 of names, types, shapes and values of tensors, in the order of their names, and of texts beside them."""
    digest = hashlib.sha256(json.dumps(sorted((facts or {}).items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def fingerprint_weights(network: nn.Module) -> str:
    """A short name for the parameters and buffers of a network."""
    return fingerprint_tensors(network.state_dict())[:16]


def stated(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that a file carries beside its tensors, and the hash of all of them."""
    return {**facts, STATED: fingerprint_tensors(tensors, facts)}


def check_stated(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Compare tensors and facts with the hash that their file states, if it does.

    Raises:
        InputError: They are not those that were written.
    """
    facts = {key: value for key, value in facts.items() if isinstance(value, str)}
    hash_of_file = facts.pop(STATED, None)
    if hash_of_file is not None and hash_of_file != fingerprint_tensors(tensors, facts):
        raise InputError(f'{path} is damaged or was changed: its tensors and its config do not have the hash that it states, so copy or '
                         'download it again')
