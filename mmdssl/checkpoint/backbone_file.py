"""The small file a run leaves for others: the backbone alone, in safetensors, with what is needed to build it again."""
from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.registry import DefaultScope
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mmdssl.checkpoint.files import whole_file
from mmdssl.errors import InputError
from mmdssl.registry import MODELS


def save_backbone(backbone: nn.Module, path: str | Path, config: dict, **facts: str | int) -> None:
    """Write a backbone atomically.

    Args:
        backbone: The network; its parameter names become the file's.
        path: Where to; the folder must exist.
        config: The config it was built from, stored as json under the metadata key ``config``.
        facts: More metadata: the method, the epoch, the version, ...
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    metadata = dict(config=json.dumps(config), **{key: str(value) for key, value in facts.items()})
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata)


def load_backbone(path: str | Path, device: torch.device | str = 'cpu') -> nn.Module:
    """Build a backbone from a file of :func:`save_backbone`, in eval mode.

    Raises:
        InputError: If the file is not there, is not such a file, or does not fit its own config.
    """
    try:
        with safe_open(path, framework='pt', device=str(device)) as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise InputError(f'{path} does not exist: give the backbone.safetensors of a run') from None
    except SafetensorError as error:
        raise InputError(f'{path} is not a safetensors file ({error}): give the backbone.safetensors of a run') from None
    if 'config' not in metadata:
        raise InputError(f'{path} does not say how its network is built: it was not written by mmdssl')
    # Inside mmdet or mmseg a plain 'VisionTransformer' would be theirs.
    with DefaultScope.overwrite_default_scope('mmdssl'):
        backbone = MODELS.build(json.loads(metadata['config']))
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f'{path} does not fit the config it carries, so it was changed or is damaged ({error})') from None
    return backbone.to(device).eval()
