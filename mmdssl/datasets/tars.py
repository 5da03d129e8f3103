"""Tars on a disk or behind an address: which there are, and bytes out of their middle."""
from __future__ import annotations

import glob
import hashlib
import os
import posixpath
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from filelock import FileLock

from mmdssl.errors import InputError

STAMPS = ('ETag', 'etag', 'md5Hash', 'LastModified', 'updated', 'mtime', 'created')  # of files, as stores call them
PACKED = ('tar.*', 'tgz', 'tbz2', 'txz')
ATTEMPTS, PAUSE = 3, 2.  # to read from a store, and seconds after the first that failed
STALE = 3600  # seconds after which nobody writes to a partial file any more
ASKED_AT_ONCE = 32


def is_address(path: str) -> bool:
    return '://' in path


def tars_in(root: str, cache: str | None, cache_gb: float) -> Tars:
    """Those of a folder, or of an address that fsspec knows."""
    return RemoteTars(root, cache_folder(root, cache), cache_gb) if is_address(root) else Tars(root)


def cache_folder(root: str, cache: str | None = None) -> Path:
    """Where copies of remote tars are kept, and the index of those that nothing can be written beside; by default below ``torch.hub``'s."""
    name = hashlib.sha256((root if is_address(root) else os.path.realpath(root)).encode(errors='surrogateescape')).hexdigest()[:12]
    return Path(cache or Path(torch.hub.get_dir(), 'tars'), f'{name}-{os.path.basename(root.rstrip("/"))}')


class Tars:
    """Reads from some open files, of which the one that was not used for longest makes way for the next.

    Reading keeps no position, so that processes may be forked at any time; those that are spawned open files of their own.

    Args:
        root: Folder of the tars.
        limit: Files that are open at a time.
    """

    def __init__(self, root: str, limit: int = 64):
        self.root = root
        self.limit = limit
        self._open: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_open': OrderedDict()}

    def __deepcopy__(self, memo: dict) -> Tars:
        return self

    def __del__(self):
        for descriptor in getattr(self, '_open', {}).values():
            with suppress(OSError):
                os.close(descriptor)

    def path(self, name: str) -> str:
        """What a tar is called in messages."""
        return os.path.join(self.root, name)

    def find(self, patterns: Sequence[str]) -> list[str]:
        """Names of tars below the root, sorted, of patterns with ``*``, ``**``, ``?``, ``[]``, ``{000..123}`` and ``{a,b}``.

        Raises:
            InputError: There is none, or one that is named without ``*`` does not exist.
        """
        names = [posixpath.normpath(name) for pattern in patterns for name in expand(pattern)]
        plain = [name for name in names if not glob.has_magic(name)]
        missing = [name for name, there in zip(plain, self.exist(plain)) if not there]
        if missing:
            raise InputError(f"{len(missing)} of the tars of '{self.root}' do not exist, first {', '.join(missing[:3])}: check "
                             'data_root and shards')
        found = {*plain, *(name for pattern in names if glob.has_magic(pattern) for name in self._glob(pattern))}
        if not found:
            packed = next((name for end in PACKED for name in self._glob(f'**/*.{end}')), None)
            raise InputError(f"no tar in '{self.root}' is named {' or '.join(patterns)}: "
                             + ('set data_root and shards, or --data, to the tars' if packed is None else not_seekable(packed)))
        return sorted(found)

    def stamps(self, names: Sequence[str]) -> list[tuple[int, str]]:
        """Size of each, and what changes when its content does."""
        return [(file.st_size, str(file.st_mtime_ns)) for file in map(os.stat, map(self.path, names))]

    def open(self, name: str) -> BinaryIO:
        """The whole tar."""
        return open(self.path(name), 'rb')

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Some bytes of a tar.

        Raises:
            OSError: It is not there, cannot be read, or ends before.
        """
        descriptor = self._descriptor(name)
        parts, left = [], size
        while left:
            part = os.pread(descriptor, left, offset + size - left)
            if not part:
                raise OSError(f"'{self.path(name)}' ends before byte {offset + size}")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b''.join(parts)

    def _descriptor(self, name: str) -> int:
        if name not in self._open:
            while len(self._open) >= self.limit:
                os.close(self._open.popitem(last=False)[1])
            try:
                self._open[name] = os.open(self._local(name), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # a copy that another process has just made way for its own
                self._open[name] = os.open(self._local(name), os.O_RDONLY | os.O_CLOEXEC)
        self._open.move_to_end(name)
        return self._open[name]

    def _local(self, name: str) -> str:
        return self.path(name)

    def exist(self, names: Sequence[str]) -> Iterable[bool]:
        """Whether there are such tars."""
        return map(os.path.isfile, map(self.path, names))

    def _glob(self, pattern: str) -> list[str]:
        return [name for name in glob.glob(pattern, root_dir=self.root, recursive=True) if os.path.isfile(self.path(name))]


class RemoteTars(Tars):
    """Tars behind an address of fsspec (``s3://``, ``gs://``, ``https://``, ...), copied to a cache when something is read of them.

    Of the copies, those that were not used for longest make way. Of a tar larger than the cache only what is asked for is fetched.

    Args:
        root: The address of their folder.
        cache: Folder of the copies.
        cache_gb: 10^9 bytes that copies take, about: each process may be fetching one more.
        limit: Files that are open at a time; the space of a copy that makes way is free when no process has it open.

    Raises:
        InputError: fsspec, or what it needs for such addresses, is not installed; or the store does not answer.
    """

    def __init__(self, root: str, cache: Path, cache_gb: float = 100., limit: int = 16):
        super().__init__(root.rstrip('/'), limit)
        self.cache = cache
        self.cache_bytes = int(1e9 * cache_gb)
        self._stamps: dict[str, tuple[int, str]] = {}
        self._connection: tuple[int, Any, str] | None = None
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), '_connection': None}

    def _connect(self) -> tuple[Any, str]:
        """File system and path of the root; a connection does not survive a fork."""
        if self._connection is None or self._connection[0] != os.getpid():
            try:
                from fsspec.core import url_to_fs
            except ImportError:
                raise InputError(f"'{self.root}' is read with fsspec, which is not installed: pip install fsspec, with s3fs for s3://, "
                                 'gcsfs for gs://, aiohttp for https://, or copy the tars to a disk') from None
            try:
                self._connection = os.getpid(), *url_to_fs(self.root, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise InputError(f"'{self.root}' is an address that fsspec cannot read ({error}): install what it asks for, or copy the "
                                 'tars to a disk') from None
        return self._connection[1:]

    def _ask(self, question: Callable, name: str = '') -> Any:
        """An answer of the store, which is given some attempts."""
        for attempt in range(ATTEMPTS):
            files, root = self._connect()
            try:
                return question(files, f'{root}/{name}')
            except FileNotFoundError:
                raise
            except Exception as error:  # stores and their libraries raise almost anything
                if attempt == ATTEMPTS - 1:
                    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
                    raise InputError(f"'{self.path(name)}' cannot be read ({reason:.300}): check the address, the network and who may "
                                     'read it; a run goes on with --resume') from error
                time.sleep(PAUSE * 2 ** attempt)
        return None

    def path(self, name: str) -> str:
        return f'{self.root}/{name}'

    def stamps(self, names: Sequence[str]) -> list[tuple[int, str]]:
        return [self._stamps[name] for name in names]

    def open(self, name: str) -> BinaryIO:
        if self._fits(name):
            return open(self._local(name), 'rb')
        return self._ask(lambda files, path: files.open(path, 'rb'), name)

    def read(self, name: str, offset: int, size: int) -> bytes:
        if name in self._open or self._fits(name):
            return super().read(name, offset, size)
        data = self._ask(lambda files, path: files.cat_file(path, offset, offset + size), name)
        if len(data) < size:
            raise OSError(f"'{self.path(name)}' ends before byte {offset + size}")
        return data

    def _fits(self, name: str) -> bool:
        return self._stamps[name][0] <= self.cache_bytes

    def _local(self, name: str) -> str:
        """The copy of a tar, which is fetched where it is missing."""
        version = hashlib.sha256(repr((name, *self._stamps[name])).encode()).hexdigest()[:16]
        copy = self.cache / f'{version}.tar'
        with suppress(OSError):
            os.utime(copy)  # it is in use
            return str(copy)
        self.cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{copy}.lock'):  # of several processes, one fetches
            if not copy.exists():
                self._make_room(self._stamps[name][0])
                partial = str(copy.with_suffix('.partial'))
                self._ask(lambda files, path: self._fetch(files, path, partial, self._stamps[name][0]), name)
                os.replace(partial, copy)
        return str(copy)

    @staticmethod
    def _fetch(files: Any, path: str, copy: str, size: int) -> None:
        files.get_file(path, copy)
        fetched = os.path.getsize(copy)
        if fetched != size:
            raise OSError(f'{fetched} of {size} bytes came')

    def _make_room(self, size: int) -> None:
        copies = []
        for path in [*self.cache.glob('*.tar'), *self.cache.glob('*.partial')]:
            with suppress(OSError):  # another process was faster
                file = path.stat()
                if path.suffix == '.partial' and file.st_mtime < time.time() - STALE:
                    path.unlink()
                else:
                    copies.append((file.st_mtime, file.st_size, path))
        total = size + sum(taken for _, taken, _ in copies)
        for _, taken, path in sorted(copies):
            if total > self.cache_bytes and path.suffix == '.tar':
                path.unlink(missing_ok=True)
                total -= taken

    def exist(self, names: Sequence[str]) -> Iterable[bool]:
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            return [*pool.map(self._remember, names)]

    def _remember(self, name: str) -> bool:
        try:
            self._stamps[name] = _stamp(self._ask(lambda files, path: files.info(path), name))
        except FileNotFoundError:
            return False
        return True

    def _glob(self, pattern: str) -> list[str]:
        try:
            found = self._ask(lambda files, path: files.glob(path, detail=True), pattern)
        except FileNotFoundError:
            return []
        front = len(self._connect()[1].rstrip('/')) + 1
        files = {path[front:]: info for path, info in found.items() if info.get('type') != 'directory'}
        self._stamps.update((name, _stamp(info)) for name, info in files.items())
        return [*files]


def _stamp(info: dict) -> tuple[int, str]:
    return int(info['size'] or 0), next((str(info[key]) for key in STAMPS if info.get(key)), '')


def expand(pattern: str) -> list[str]:
    """The names that the braces of a pattern stand for, as in a shell: ``{000..123}``, ``{a,b}``."""
    for braces in re.finditer(r'\{([^{}]*)\}', pattern):
        low, dots, high = braces[1].partition('..')
        if dots and low.isdecimal() and high.isdecimal():
            options = [f'{number:0{len(low)}d}' for number in range(int(low), int(high) + 1)]
        elif ',' in braces[1]:
            options = braces[1].split(',')
        else:
            continue
        front, back = pattern[:braces.start()], pattern[braces.end():]
        return [name for option in options for name in expand(front + option + back)]
    return [pattern]


def not_seekable(name: str, kind: str = '') -> str:
    """What to do about a tar that is compressed."""
    return (f"'{name}' is compressed{kind and f' ({kind})'}, so that no image in it can be read without all before it: unpack it to a "
            'plain .tar (images are compressed already)')
