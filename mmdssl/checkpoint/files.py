"""Checkpoint files: written whole or not at all, and read without running anything they contain."""
from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError, safe_open

from mmdssl.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write a file so that ``path`` is at any moment the old file or the whole new one.

    Yields a temporary path in the same folder to write to. It takes the place of ``path`` when the block ends, and
    vanishes when the block raises.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
        _to_disk(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write does not know it
        raise
    finally:
        with suppress(OSError):  # what was wrong before is wrong still
            partial.unlink()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: str | Path, map_location: str | torch.device = 'cpu', allow: Sequence[type] = ()) -> Any:
    """Read a file written by ``torch.save``; only tensors, plain values and a few known classes are accepted.

    Args:
        path: File, or http(s) address of one, which is downloaded once.
        map_location: Device of the tensors.
        allow: More classes to accept.

    Raises:
        InputError: The file is missing, damaged, or holds objects that could run code.
    """
    path = _local(path)
    try:
        known = {**_known_globals(), **_by_name(allow)}
        with torch.serialization.safe_globals([(value, name) for name, value in known.items()]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{path} was not loaded because it holds more than tensors and plain values ({_refused(error)}), which can '
            'run code: if you trust its source, keep the weights alone with `python -c "import torch; c = torch.load('
            f"'{path}', weights_only=False); torch.save(c.get('state_dict', c), 'weights.pth')\"`") from None
    except (EOFError, RuntimeError, OSError) as error:
        raise InputError(f'{path} could not be read as a PyTorch checkpoint ({_first_line(error)}): it may be damaged '
                         'or cut short, so copy or download it again, or use an older one') from error


def read_safetensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Args:
        path: File, or http(s) address of one, which is downloaded once.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = _local(path)
    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f'{path} is not a safetensors file ({_first_line(error)}): it may be damaged or cut short, so '
                         'copy or download it again') from error


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that ``work_dir/last_checkpoint`` names, also after the folder was moved, or None."""
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return None
    named = Path(note.read_text().strip())
    return next((path for path in (named, note.parent / named.name) if path.is_file()), None)


def _local(path: str | Path) -> Path:
    if str(path).startswith(('http://', 'https://')):
        target = Path(torch.hub.get_dir(), 'checkpoints', Path(str(path)).name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(str(path), str(target))
        return target
    if not Path(path).is_file():
        raise InputError(f'checkpoint {path} does not exist: give the path of a .pth or .safetensors file or an '
                         'http(s) address')
    return Path(path)


def _known_globals() -> dict[str, Any]:
    """By name, what the checkpoints of MMEngine, DINO and iBOT hold besides tensors.

    MMEngine's log history pickles four of its own methods as ``getattr(HistoryBuffer, name)``; a full ``getattr`` would
    be a door, so a stand-in answers that does only this.
    """
    array = (np._core if hasattr(np, '_core') else np.core).multiarray
    dtypes = [type(np.dtype(name)) for name in ('bool', 'int32', 'int64', 'float32', 'float64')]
    return {**_by_name([argparse.Namespace, HistoryBuffer, np.ndarray, np.dtype, *dtypes]),
            **{f'{module}.multiarray.{name}': getattr(array, name)
               for module in ('numpy.core', 'numpy._core') for name in ('_reconstruct', 'scalar')},
            'builtins.getattr': _history_method}


def _by_name(classes: Sequence[type]) -> dict[str, type]:
    return {f'{cls.__module__}.{cls.__qualname__}': cls for cls in classes}


def _history_method(owner: type, name: str):
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(HistoryBuffer, name)


def _refused(error: Exception) -> str:
    """What PyTorch says of the object that it refused, without its advice to load it all the same."""
    found = re.search(r'WeightsUnpickler error:\s*(.+?)(?:\. |\n|$)', str(error))
    return found[1] if found else _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
