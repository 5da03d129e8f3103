"""What a file with a checkpoint's name really is, by its content."""
from __future__ import annotations

import json
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from mmdssl.errors import InputError

CHECKPOINT, SAFETENSORS = 'PyTorch checkpoint', 'safetensors file'

LARGEST_JSON = 16 << 20  # bytes that are parsed to tell it from other text

UNPACK = 'unpack it and give the file inside'
ELSEWHERE = 'give the path of the checkpoint itself'
AGAIN = 'copy or download it again'

# First bytes, what they say the file is, and what to do about it.
SIGNATURES = (
    (b'version https://git-lfs', 'a Git LFS pointer, which stands for the file', 'fetch the file itself with git lfs pull'),
    (b'\x1f\x8b', 'a gzip archive', UNPACK),
    (b'BZh', 'a bzip2 archive', UNPACK),
    (b'\xfd7zXZ', 'an xz archive', UNPACK),
    (b'\x28\xb5\x2f\xfd', 'a zstd archive', UNPACK),
    (b'7z\xbc\xaf', 'a 7z archive', UNPACK),
    (b'Rar!', 'a RAR archive', UNPACK),
    (b'\x89PNG', 'a PNG image', ELSEWHERE),
    (b'\xff\xd8\xff', 'a JPEG image', ELSEWHERE),
    (b'GIF8', 'a GIF image', ELSEWHERE),
    (b'%PDF', 'a PDF document', ELSEWHERE),
    (b'\x89HDF', 'an HDF5 file (Keras)', 'give weights of PyTorch'),
    (b'\x93NUMPY', 'a NumPy array', 'give weights of PyTorch'),
    (b'GGUF', 'a GGUF file', 'give weights of PyTorch'),
)


def check_kind(path: Path, wanted: str | None = None, name: str | None = None) -> None:
    """Refuse a file whose content is something else than weights.

    What cannot be told passes: the reader of the format has its own words for damage.

    Args:
        path: The file.
        wanted: :data:`CHECKPOINT` or :data:`SAFETENSORS`; None for either.
        name: What to call the file, by default its path.

    Raises:
        InputError: Naming what it is.
    """
    found = _kind(path)
    if found is None or found == (wanted, ''):
        return
    kind, advice = found
    if not advice:
        if wanted is None:
            return
        kind, advice = f'a {kind}', f'rename it to end in {".safetensors" if kind == SAFETENSORS else ".pth"}'
    raise InputError(f'{name or path} is not a {wanted or "checkpoint"} but {kind}: {advice}')


def _kind(path: Path) -> tuple[str, str] | None:
    """What a file is, and what to do about it (nothing, where it is right); None where that cannot be told."""
    with open(path, 'rb') as file:
        head = file.read(4096)
    if not head:
        return 'an empty file', AGAIN
    if not head.strip(b'\0') and len(head) > 8:
        return 'a file that begins with zeros alone, as an interrupted copy leaves it', AGAIN
    for start, kind, advice in SIGNATURES:
        if head.startswith(start):
            return kind, advice
    if head.startswith(b'PK\x03\x04'):
        return _kind_of_zip(path)
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < 1 << 32:
        return SAFETENSORS, ''
    if head[257:262] == b'ustar':
        return 'a tar archive', UNPACK
    return (CHECKPOINT, '') if _is_pickle(head) else _kind_of_text(path, head)


def _kind_of_zip(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # cut short, of which the reader tells
        return None
    if any(name.endswith(('/constants.pkl', 'constants.pkl')) for name in names):
        return 'a TorchScript program', 'give the weights that it was made from, or save its state_dict()'
    if any(name.rpartition('/')[2] == 'data.pkl' for name in names):
        return CHECKPOINT, ''
    if any(name.endswith('.npy') for name in names):
        return 'an archive of NumPy arrays', 'give weights of PyTorch'
    return "a zip archive without a checkpoint's parts", UNPACK


def _kind_of_text(path: Path, head: bytes) -> tuple[str, str] | None:
    lower = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if lower.startswith((b'<!doctype html', b'<html', b'<head', b'<body')) or lower.startswith(b'<') and b'<html' in lower:
        return 'a web page', 'the download went wrong, so download the file itself, whose address may be another one'
    if lower.startswith(b'<?xml'):
        return 'an XML document', 'the download went wrong (servers send errors so), so download the file itself'
    try:
        text = head.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return None
        text = head[:error.start].decode('utf-8-sig')
    if not all(character.isprintable() or character in '\t\r\n' for character in text):
        return None
    if lower.startswith((b'{', b'[')) and path.stat().st_size < LARGEST_JSON:
        try:
            json.loads(path.read_text('utf-8-sig'))
            return f'a JSON file ({_first_line(text)})', ELSEWHERE
        except (ValueError, RecursionError):
            pass
    return f'a text file ({_first_line(text)})', ELSEWHERE


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), '')
    return repr(line if len(line) <= 60 else f'{line[:60]}...')


def _is_pickle(head: bytes) -> bool:
    if head[0] == 0x80 and head[1:2] and head[1] <= pickle.HIGHEST_PROTOCOL:
        return True
    wanted = wanted_globals(head)  # protocol 0 is text
    return bool(wanted) and not any(character.isspace() for name in wanted for character in name)


def wanted_globals(data: bytes) -> list[str]:
    """Dotted names of what the pickles at the start of some bytes would import, in order; nothing is run."""
    names: list[str] = []
    stream = BytesIO(data)
    try:
        while True:
            names += _globals(stream)
    except Exception:  # whatever the walk makes of bytes that are no pickle; a lone one ends so, too
        return list(dict.fromkeys(names))


def _globals(stream: BytesIO) -> Iterator[str]:
    texts: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ('GLOBAL', 'INST'):
            module, _, name = argument.partition(' ')
            yield f'{IMPORT_MAPPING.get(module, module)}.{name}'  # pickles say __builtin__
        elif opcode.name == 'STACK_GLOBAL':
            yield '.'.join(texts[-2:])
        elif opcode.name in ('MEMOIZE', 'PUT', 'BINPUT', 'LONG_BINPUT'):
            memo[len(memo) if argument is None else argument] = texts[-1] if texts else ''
        elif opcode.name in ('GET', 'BINGET', 'LONG_BINGET'):
            texts.append(memo.get(argument, ''))
        elif isinstance(argument, str):
            texts.append(argument)
