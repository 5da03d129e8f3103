"""The network of a model that is exported and evaluated, and the config it was built from."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from inspect import isclass

import torch
from torch import nn

from mmdssl.registry import MODELS


def backbone_of(model: nn.Module) -> nn.Module:
    """``model.backbone``, or that of the first model inside it that has one; a model without any is its own."""
    inside = (module.backbone for module in model.modules() if isinstance(getattr(module, 'backbone', None), nn.Module))
    return next(inside, model)


def config_of(network: nn.Module, model: Mapping) -> dict | None:
    """The config a network was built from, by whatever name it goes in the config of the model; None where it is not there.

    It has the network's type; of several that have it, the first that builds the same parameters. Where types are imported and not
    named, it is named by its place.
    """
    found: list[dict] = []
    for node in _dicts(model):
        kind = _built_by(node.get('type'))
        if kind is type(network) or kind is not None and not isclass(kind) and _same_parameters(node, network):
            config = dict(node) if isinstance(node['type'], str) else dict(node, type=f'{kind.__module__}.{kind.__qualname__}')
            if config not in found:
                found.append(config)
    if len(found) > 1:
        found = [config for config in found if _same_parameters(config, network)]
    return found[0] if found else None


def _dicts(node) -> Iterator[Mapping]:
    if isinstance(node, Mapping):
        yield node
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for child in node:
            yield from _dicts(child)


def _built_by(kind):
    """The class or function that a type names, None where there is none."""
    if not isinstance(kind, str):
        return kind
    with suppress(Exception), MODELS.switch_scope_and_registry(None) as registry:
        return registry.get(kind)
    return None


def _same_parameters(config: Mapping, network: nn.Module) -> bool:
    """Whether the config builds a network with the same names and shapes; random states stay as they are."""
    with suppress(Exception), torch.random.fork_rng(devices=[]):
        built = MODELS.build(dict(config, init_cfg=None) if 'init_cfg' in config else dict(config))
        return _shapes(built) == _shapes(network)
    return False


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
