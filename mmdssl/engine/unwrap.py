"""The model inside its distributed wrapper."""
from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, whether or not ``DistributedDataParallel`` or the like is around it."""
    return model.module if is_model_wrapper(model) else model
