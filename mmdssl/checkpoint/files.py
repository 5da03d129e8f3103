"""Checkpoint files: written whole or not at all, and read without running anything they contain."""
from __future__ import annotations

import argparse
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open

from mmdssl.checkpoint.fingerprint import STATED, check_stated
from mmdssl.checkpoint.kinds import CHECKPOINT, SAFETENSORS, check_kind, wanted_globals
from mmdssl.errors import InputError

# Of what a pickle imports, that which makes tensors.
HARMLESS = re.compile(r'torch\._utils\._rebuild_\w+|torch\.\w*(Storage|Tensor)|torch\.(u?int|b?float|bool|complex|q)\w*|'
                      r'torch\.(Size|device|storage\.\w+|nn\.parameter\.\w+)|torch\._tensor\._rebuild_\w+|'
                      r'collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|int|float|complex)')
PART = re.compile(r'-\d{5}-of-(?!00001)\d{5}\.')  # as transformers names the parts of large networks
LARGEST_PICKLE = 64 << 20  # bytes, of which only a message depends


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write a file so that ``path`` is at any moment the old file or the whole new one.

    Yields a temporary path in the same folder to write to. It takes the place of ``path`` when the block ends, and
    vanishes when the block raises. Who may read it does not depend on the library that writes it.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)
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


def read_checkpoint(path: str | Path, map_location: str | torch.device = 'cpu', allow: Sequence[type] = (), mmap: bool = False) -> dict:
    """Read a file written by ``torch.save``; only tensors, plain values and a few known classes are accepted.

    The checksums that its zip archive states are compared, which PyTorch does not do, and the hash that a file of ours states.

    Args:
        path: File, or http(s) address of one, see :func:`mmdssl.checkpoint.download.fetch`.
        map_location: Device of the tensors.
        allow: More classes to accept.
        mmap: Read tensors from the file where they are used, so that processes share the memory; the file must stay as it is.

    Raises:
        InputError: The file is missing, damaged, something else, no dict, or holds objects that could run code.
    """
    path = _local(path, CHECKPOINT)
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        known = {**_known_globals(), **_by_name(allow)}
        with torch.serialization.safe_globals([(value, name) for name, value in known.items()]), warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            content = torch.load(path, map_location=map_location, weights_only=True,
                                 mmap=mmap and zipfile.is_zipfile(path))
        if isinstance(content, dict) and STATED in content:
            check_stated(path, content['state_dict'], content)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, error, known) or _damaged(path, error)) from None
    except Exception as error:  # whatever a reader makes of bytes that nobody meant
        raise InputError(_damaged(path, error)) from error
    if not isinstance(content, dict):
        raise InputError(f'{path} holds a {type(content).__name__}, not a dict: give a file with a dict of tensors')
    return content


def read_safetensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Args:
        path: File, or http(s) address of one, see :func:`mmdssl.checkpoint.download.fetch`.

    Raises:
        InputError: The file is missing, damaged or something else.
    """
    path = _local(path, SAFETENSORS)
    try:
        with safe_open(path, framework='pt') as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
        check_stated(path, tensors, metadata)
    except InputError:
        raise
    except Exception as error:  # whatever a reader makes of bytes that nobody meant
        raise InputError(f'{path} is not a safetensors file ({_first_line(error)}): it may be damaged or cut short, so '
                         'copy or download it again') from error
    return tensors, metadata


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that ``work_dir/last_checkpoint`` names, also after the folder was moved or copied.

    Where the note is gone or damaged, the newest of the names that runs give; None where there is none.
    """
    folder = Path(work_dir).absolute()
    try:
        named = Path((folder / 'last_checkpoint').read_text(errors='replace').strip())
        found = [path for path in (folder / named.name, named) if path.is_file()]
    except (OSError, ValueError):
        found = []
    if not found and folder.is_dir():
        usual = [path for path in folder.glob('*.pth') if re.fullmatch(r'((epoch|iter)_\d+|interrupted)\.pth', path.name)]
        found = sorted(usual, key=lambda path: path.stat().st_mtime, reverse=True)
    return found[0] if found else None


def _local(path: str | Path, wanted: str) -> Path:
    from mmdssl.checkpoint.download import fetch, is_address  # which writes whole files
    file = fetch(str(path)) if is_address(path) else Path(path)
    if not file.is_file():
        if file.is_dir():
            inside = next((f', such as {found}' for kind in ('*.safetensors', '*.pth') for found in sorted(file.glob(kind))), '')
            raise InputError(f'checkpoint {path} is a folder: give the path of a .pth or .safetensors file in it{inside}')
        raise InputError(f'checkpoint {path} does not exist: give the path of a .pth or .safetensors file or an '
                         'http(s) address')
    if PART.search(file.name):
        raise InputError(f'checkpoint {path} is one of several parts: put them together first, as by '
                         "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW, max_shard_size='1TB')")
    try:
        check_kind(file, wanted)
    except OSError as error:
        raise InputError(f'checkpoint {path} cannot be read ({error.strerror}): check its permissions and its disk') from None
    return file


def _check_archive(path: Path) -> None:
    """Compare the checksums of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > 100 * path.stat().st_size:
            raise InputError(f'{path} would unpack to {unpacked:,} bytes, more than 100 times its size, which no checkpoint does: '
                             'get it from another source')
        for entry in entries:
            if entry.CRC == 0:  # written without one (torch.serialization.set_crc32_options)
                continue
            with archive.open(entry) as file:
                while file.read(1 << 20):
                    pass


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


def _damaged(path: Path, error: Exception) -> str:
    said = re.sub(r'^.*WeightsUnpickler error:\s*', '', str(error), flags=re.DOTALL)  # the rest advises to load it all the same
    line = (said.strip().splitlines() or [type(error).__name__])[0]
    return (f'{path} could not be read as a PyTorch checkpoint ({line}): it may be damaged or cut short, so copy or download it again, '
            'or use an older one')


def _refusal(path: Path, error: Exception, known: Iterable[str]) -> str | None:
    """Why a pickle was not loaded, and what to do; None for one that is damaged."""
    data = _pickle_of(path)
    names = [name for name in wanted_globals(data)
             if not HARMLESS.fullmatch(name) and not any(f'{name}.'.startswith(f'{good}.') for good in known)]
    refused = re.search(r'(getattr\(.*?\) is not allowed)', str(error))  # see _known_globals
    if names or refused:
        what = f'it wants to call {", ".join(names[:3])}' if names else refused[1]
        return (f'{path} was not loaded because it holds more than tensors and plain values, which can run code ({what}): ask its '
                'source for a safetensors file or one of tensors alone')
    if data[:1] == b'\x80' and data[1:2] in (b'\3', b'\4', b'\5'):
        return (f'{path} was not loaded because it is pickled in a way that PyTorch does not read safely (protocol {data[1]}): ask its '
                "source for a safetensors file, or for one saved with torch.save's defaults")
    return None


def _pickle_of(path: Path) -> bytes:
    """The pickle of a checkpoint, or what is read of a file of another kind."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(next(name for name in archive.namelist() if name.rpartition('/')[2] == 'data.pkl'))
    except (zipfile.BadZipFile, StopIteration):
        with open(path, 'rb') as file:
            return file.read(LARGEST_PICKLE)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
