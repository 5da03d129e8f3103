"""Activation checkpointing: what modules compute is not kept for the backward pass but computed again."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import attrgetter

from torch import nn
from torch.utils.checkpoint import checkpoint

from mmdssl.errors import InputError


def recomputed_modules(model: nn.Module, names: str | Sequence[str]) -> list[nn.Module]:
    """The modules that ``activation_checkpointing`` of a config names; the name of a list of modules stands for each of them.

    Raises:
        InputError: There is no module of such a name.
    """
    modules = []
    for name in [names] if isinstance(names, str) else names:
        try:
            module = attrgetter(name)(model)
        except AttributeError:
            raise InputError(f"activation_checkpointing='{name}': {type(model).__name__} has no such module; its parts are "
                             f'{", ".join(part for part, _ in model.named_children())}') from None
        modules += module if isinstance(module, nn.ModuleList) else [module]
    return modules


def recompute(modules: Sequence[nn.Module]) -> None:
    """Let modules compute twice what they would keep.

    It takes the place of what MMEngine has put around them: PyTorch's older, reentrant way, which knows no arguments by name, no tensors
    within tuples, and no module that runs twice under ``DistributedDataParallel``.
    """
    for module in modules:
        module.forward = partial(checkpoint, getattr(module.forward, '__wrapped__', module.forward), use_reentrant=False)
