"""What weights must be before anything is built from them or trained on."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdssl.errors import InputError

# Buffers of networks that are whole numbers.
COUNTS = re.compile(r'(.*\.)?(num_batches_tracked|relative_position_index|position_ids)')


def check_weights(path: str | Path, weights: Mapping[str, Tensor], network: Mapping[str, Tensor] | None = None) -> None:
    """Refuse weights with which no network computes anything.

    Args:
        path: Of their file, for messages.
        weights: By name.
        network: State of the network that they are for, which tells which of them are whole numbers.

    Raises:
        InputError: Some are NaN or infinite, or of a type that no weights have: whole numbers, complex, quantised, sparse, without
            values or without all of them.
    """
    for name, tensor in weights.items():
        known = None if network is None else network.get(name.removeprefix('module.'))
        counts = COUNTS.fullmatch(name) is not None if known is None else not known.is_floating_point()
        wrong = _wrong(tensor, counts)
        if wrong:
            raise InputError(f'{path} was not loaded because {name} {wrong}: use an older checkpoint, or ask its source for sound weights '
                             'in floating point')


def _wrong(tensor: Tensor, counts: bool) -> str:
    if getattr(tensor, 'is_quantized', False):  # PyTorch gives them up
        return 'is quantised'
    if tensor.layout != torch.strided or tensor.is_nested:
        return 'is sparse'
    if tensor.is_meta:
        return 'has no values (it is on the device meta)'
    if tensor.is_complex():
        return 'is complex'
    if not tensor.is_floating_point():
        return '' if counts else f'is of the type {str(tensor.dtype).removeprefix("torch.")}'
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f'is of shape {tuple(tensor.shape)}, of which only {tensor.untyped_storage().nbytes()} bytes are there'
    bad = tensor.numel() - int(torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float()).sum())
    return f'has {bad:,} of {tensor.numel():,} values that are NaN or infinite' if bad else ''


def network_of(path: str | Path, checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The weights of the whole model that a checkpoint of MMEngine holds, or those that it consists of.

    Raises:
        InputError: There are none.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict) or not weights or not all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()):
        raise InputError(f"{path} holds no weights of a model (a dict of tensors under 'state_dict', or nothing else): give a checkpoint "
                         'of a run, or a backbone with --pretrained')
    return weights


def check_resumable(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Refuse what a run cannot be continued from.

    Raises:
        InputError: It is no checkpoint of a run, or parts of it are missing or of another kind.
    """
    missing = [name for name in ('meta', 'message_hub', 'optimizer') if name not in checkpoint]
    if 'optimizer' in missing:
        raise InputError(f'{path} is no checkpoint of a run, for it has no {_listed(missing)}: start a new run from its weights with '
                         'load_from, or from those of a backbone with --pretrained')
    meta, hub, optimizer = (_dict(checkpoint.get(name)) for name in ('meta', 'message_hub', 'optimizer'))
    several = bool(optimizer) and all(isinstance(part, dict) and 'param_groups' in part for part in optimizer.values())
    right = {
        **{f"meta['{name}']": _is_count(meta.get(name)) for name in ('epoch', 'iter')},
        "meta['seed']": meta.get('seed') is None or _is_count(meta['seed']),
        **{f"message_hub['{name}']": isinstance(hub.get(name), dict) for name in ('log_scalars', 'runtime_info', 'resumed_keys')},
        'optimizer': several or isinstance(optimizer.get('state'), dict) and isinstance(optimizer.get('param_groups'), list),
        'param_schedulers': isinstance(checkpoint.get('param_schedulers', []), (list, dict)),
    }
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise InputError(f'{path} cannot be continued from, for {_listed(wrong)} {"are" if len(wrong) > 1 else "is"} missing in it or of '
                         'another kind: resume from an older checkpoint, or start a new run from its weights with load_from')
    bad = next((name for name, tensor in _tensors(optimizer, 'optimizer') if _wrong(tensor, True)), None)
    if bad:
        raise InputError(f'{path} cannot be continued from, for {bad} is not finite: resume from an older checkpoint, or start a new run '
                         'from its weights with load_from')


def _dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _listed(names: list[str]) -> str:
    return ', '.join(names[:-1]) + (' and ' if len(names) > 1 else '') + names[-1]


def _tensors(value: Any, name: str, depth: int = 0) -> Iterable[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict) and depth < 6:
        for key, item in value.items():
            yield from _tensors(item, f'{name}.{key}', depth + 1)
