"""Configs in files, as data: written as JSON, and read without running anything."""
from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config

from mmdssl.errors import InputError
from mmdssl.registry import MODELS

OBJECT = '__repr__'
# Of the numbers in a config of a network.
LARGEST = 2**26
# Where and how a run runs, and nothing of what it computes; a resumed run may have other ones.
OF_THE_RUN = {'compile', 'custom_hooks', 'default_hooks', 'env_cfg', 'experiment_name', 'launcher', 'load_from', 'log_level',
              'log_processor', 'resume', 'shard', 'vis_backends', 'visualizer', 'work_dir'}
OF_A_LOADER = {'multiprocessing_context', 'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'timeout'}
# Those that decide what is trained; the others watch.
DECIDING_HOOKS = {'AlgorithmHook', 'ContrastiveCropHook', 'DistSamplerSeedHook', 'EarlyStoppingHook', 'EMAHook', 'MeanTeacherHook',
                  'ParamSchedulerHook', 'PipelineSwitchHook', 'SyncBuffersHook', 'YOLOXModeSwitchHook'}


def config_to_json(config: Config | Mapping) -> str:
    """A config as JSON.

    Tuples become lists, keys strings, classes and functions their dotted names, numpy's values Python's. Of any other object only its
    ``repr`` is left, as ``{"__repr__": ...}``.
    """
    return json.dumps(_plain(config.to_dict() if isinstance(config, Config) else config))


def read_config(text: Any) -> dict | None:
    """The config in a file: JSON, or, in files of MMEngine and our older ones, what is literal in the text of a program.

    Returns:
        None where the text is neither.
    """
    if not isinstance(text, str):
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = _literal_assignments(text)
    return config if isinstance(config, dict) and config else None


def fingerprint_config(config: Config | Mapping) -> str:
    """A short name for what a config computes, the same for a run and those that resume it, elsewhere or with other workers."""
    plain = json.loads(config_to_json(config))
    decisive = {**{key: value for key, value in plain.items() if key not in OF_THE_RUN}, 'hooks': deciding_hooks(plain)}
    text = json.dumps(_without(decisive, OF_A_LOADER), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def deciding_hooks(config: Mapping) -> dict[str, dict]:
    """By type, the hooks of a plain config that decide what is trained."""
    hooks = [*(config.get('default_hooks') or {}).values(), *(config.get('custom_hooks') or [])]
    by_type = {hook['type'].rpartition('.')[2]: hook for hook in hooks if isinstance(hook, dict) and isinstance(hook.get('type'), str)}
    return {kind: hook for kind, hook in by_type.items() if kind in DECIDING_HOOKS}


def _without(node: Any, keys: set[str]) -> Any:
    if isinstance(node, dict):
        return {key: _without(value, keys) for key, value in node.items() if key not in keys}
    return [_without(item, keys) for item in node] if isinstance(node, list) else node


def check_buildable(config: Mapping, source: Any) -> None:
    """Check that a config from a file builds nothing but networks of ours and layers.

    MMEngine imports and calls whatever a ``type`` with dots names, some of what other packages register unpickles what it is told to,
    and an ``init_cfg`` loads a file.

    Args:
        config: The config of a network.
        source: The file, for the message.

    Raises:
        InputError: It would build something else, or has numbers beyond all networks.
    """
    waiting = [('config', config)]
    while waiting:
        place, node = waiting.pop()
        if isinstance(node, Mapping):
            refused = next((node[key] for key in (OBJECT, 'init_cfg', '_scope_') if node.get(key) is not None), None)
            kind = node.get('type')
            if refused is None and kind is not None and not (isinstance(kind, str) and _is_network_or_layer(kind)):
                refused = kind
            if refused is not None:
                raise InputError(f'{source} carries a config that names {refused!r:.80}, and nothing but networks of ours and layers is '
                                 "built of what a file says: write the config yourself, with init_cfg=dict(type='SSLPretrained', ...)")
            waiting += [(f'{place}.{key}', value) for key, value in node.items()]
        elif isinstance(node, (list, tuple)):
            waiting += [(f'{place}.{i}', value) for i, value in enumerate(node)]
        elif isinstance(node, (int, float)) and not abs(node) <= LARGEST:
            raise InputError(f'{source} carries a config with {place}={node!r:.80}, of which no network can be built: it is damaged, or '
                             'was written by something else')


def _is_network_or_layer(kind: str) -> bool:
    """Whether a ``type`` is the name of a network in our registry, or of what MMEngine and mmcv build networks of."""
    import mmcv.cnn  # noqa: F401  registers the layers
    return kind.removeprefix('mmdssl.') in MODELS.module_dict or kind in MODELS.root.module_dict


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    return {OBJECT: re.sub(r' at 0x[0-9a-f]+', '', repr(value))}


def _literal_assignments(text: str) -> dict[str, Any]:
    """By name, the values of all ``name = ...`` in a program that are literals."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = _literal(statement.value)
            except (ValueError, TypeError, RecursionError):
                continue
    return found


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {str(ast.literal_eval(key)): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)
