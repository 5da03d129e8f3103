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
from mmdssl.registry import is_registered

OBJECT = '__repr__'
# Where and how a run runs, and nothing of what it computes; a resumed run may have other ones.
OF_THE_RUN = {'compile', 'custom_hooks', 'default_hooks', 'env_cfg', 'experiment_name', 'launcher', 'load_from', 'log_level',
              'log_processor', 'resume', 'vis_backends', 'visualizer', 'work_dir'}
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


def check_types(config: Any, source: Any) -> None:
    """Check that a config from a file builds nothing but what is registered: MMEngine would call whatever ``type`` names.

    Args:
        config: The config, or a part of it.
        source: The file, for the message.

    Raises:
        InputError: It would build something else.
    """
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if OBJECT in node:
                raise InputError(f'the config in {source} holds an object that a file cannot carry ({node[OBJECT]}): build it from '
                                 'the config itself')
            kind = node.get('type')
            if kind is not None and not (isinstance(kind, str) and is_registered(kind)):
                raise InputError(f"the config in {source} was refused because it builds '{kind}', which no registry has: import what "
                                 'registers it, or do not trust the file')
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


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
