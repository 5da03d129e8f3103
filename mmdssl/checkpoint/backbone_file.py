"""The small file a run leaves for others: the backbone alone, in safetensors, with what is needed to build it again."""
from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mmdssl.checkpoint.config_data import config_to_json
from mmdssl.checkpoint.files import whole_file
from mmdssl.checkpoint.fingerprint import stated
from mmdssl.checkpoint.layout import Pretrained
from mmdssl.checkpoint.pretrained import backbone_config, load_pretrained, read_pretrained
from mmdssl.registry import MODELS


def save_backbone(backbone: nn.Module, path: str | Path, config: dict, **facts: str | int) -> None:
    """Write a backbone atomically.

    Args:
        backbone: The network; its parameter names become the file's.
        path: Where to; the folder must exist.
        config: The config it was built from, stored as json under the metadata key ``config``.
        facts: More metadata: the method, the epoch, the version, ... A hash of everything is added.
    """
    tensors = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in backbone.state_dict().items()}
    metadata = dict(config=config_to_json(config), **{key: str(value) for key, value in facts.items()})
    with whole_file(path) as partial:
        save_file(tensors, partial, stated(tensors, metadata))


def load_backbone(path: str | Path | Pretrained, device: torch.device | str = 'cpu', network: str | None = None,
                  layout: str | None = None) -> nn.Module:
    """Build the backbone of any checkpoint that :func:`mmdssl.checkpoint.read_pretrained` knows, or of its result, in eval mode.

    Raises:
        InputError: The file cannot be read, or does not fit the config that it carries.
    """
    pretrained = path if isinstance(path, Pretrained) else read_pretrained(path, network, layout)
    backbone = MODELS.build(backbone_config(pretrained))
    load_pretrained(backbone, pretrained)
    return backbone.to(device).eval()
