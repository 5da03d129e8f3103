"""Where the images of tars are: one pass over their headers, kept in a file."""
from __future__ import annotations

import hashlib
import json
import logging
import os
import tarfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from mmdssl.datasets.images import IMG_EXTENSIONS
from mmdssl.datasets.packed import SharedArray
from mmdssl.datasets.tars import Tars, cache_folder, is_address, not_seekable
from mmdssl.errors import InputError

NAME = 'index.npy'
ROW = np.dtype([('shard', '<u4'), ('offset', '<u8'), ('size', '<u4')])  # 16 bytes
MARK = b'mmdssl tars 1\n'  # at the end of the file
LARGEST = 2 ** 32 - 1
CHUNK = 1 << 20
COMPRESSED = {b'\x1f\x8b': 'gzip', b'BZh': 'bzip2', b'\xfd7zXZ\0': 'xz', b'\x28\xb5\x2f\xfd': 'zstd'}
SCANNED_AT_ONCE = 8
SHOWN = 3


class Shard(NamedTuple):
    """A tar in the index.

    Attributes:
        name: Below the root.
        size: In bytes.
        stamp: Changes when its content does.
        first: Row of its first image.
        count: Of its images.
        labels: ``'folders'`` where all its images are in folders, ``'cls'`` where beside each is a ``.cls``, else None.
        damage: What is wrong with it, in words.
    """
    name: str
    size: int
    stamp: str
    first: int
    count: int
    labels: str | None
    damage: str | None


class TarIndex:
    """Offsets and sizes of the images in some tars, in a file that processes map into memory.

    The file is ``index.npy``, an array of :data:`ROW`, which ``np.load`` reads. Behind it are the numbers of folders or classes, int32
    each, where any tar has them, then as JSON the tars and the names of folders, and the length of that.

    Args:
        path: Of the file, which is one.
        shards: The tars to use, of those in the file.
        folders: Names of folders, which the numbers in it count.

    Attributes:
        shards: The tars.
        ends: ``(len(shards),)`` images up to and with each of them.
        labels: Classes of the images, where all tars have them: numbers of folders, sorted by name, or of ``.cls``.
    """

    def __init__(self, path: str, shards: Sequence[Shard], folders: Sequence[str]):
        self.rows = SharedArray.of(path)
        self.shards = list(shards)
        self.ends = np.cumsum([shard.count for shard in shards])
        self._firsts = np.array([shard.first for shard in shards]) - (self.ends - [shard.count for shard in shards])
        kinds = {shard.labels for shard in shards if shard.count}
        self.labels = SharedArray(self._read_labels(path, kinds == {'folders'}, folders)) if kinds in ({'folders'}, {'cls'}) else None

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, index: int) -> tuple[Shard, int, int]:
        """The tar of an image, its first byte and its size."""
        shard = int(np.searchsorted(self.ends, index, 'right'))
        _, offset, size = self.rows.values[self._firsts[shard] + index].item()
        return self.shards[shard], offset, size

    def digests(self) -> list[str]:
        """What tells the images of each tar."""
        rows = (self.rows.values[shard.first:shard.first + shard.count] for shard in self.shards)
        return [hashlib.sha256(some['offset'].tobytes() + some['size'].tobytes()).hexdigest()[:16] for some in rows]

    def _read_labels(self, path: str, by_folder: bool, folders: Sequence[str]) -> np.ndarray:
        numbers = np.memmap(path, '<i4', 'r', self.rows.values.offset + self.rows.values.nbytes, len(self.rows))
        numbers = np.concatenate([numbers[shard.first:shard.first + shard.count] for shard in self.shards])
        if not by_folder:
            return numbers
        used = np.flatnonzero(np.bincount(numbers, minlength=len(folders)))
        labels = np.zeros(len(folders), np.int32)
        labels[sorted(used.tolist(), key=lambda number: folders[number])] = np.arange(len(used))
        return labels[numbers]


def open_index(tars: Tars, names: Sequence[str], path: str | None = None, cache: str | None = None) -> TarIndex:
    """The index of some tars, made by the first process where there is none or tars have changed; all processes call this.

    Args:
        tars: Their folder.
        names: Of the tars.
        path: Of the file; None for ``index.npy`` in the folder, or in the cache where nothing can be written beside the tars.
        cache: See :func:`mmdssl.datasets.tars.cache_folder`.

    Raises:
        InputError: A file is no tar or is compressed, there is no image in any, or the file at the place of the index is another one.
    """
    places = [Path(path)] if path else [cache_folder(tars.root, cache) / NAME]
    if not path and not is_address(tars.root):
        places.insert(0, Path(tars.root, NAME))
    problem = None
    if is_main_process():
        try:
            found = _find(places, tars, names) or _make(places, tars, names)
        except Exception as error:  # which the others must not wait for
            problem = error
    answer = [problem and str(problem)]
    broadcast_object_list(answer)
    if problem:
        raise problem
    if answer[0] is not None:
        raise InputError(answer[0])
    if not is_main_process():  # on another machine its own tars may lie
        found = _find(places, tars, names) or _make(places, tars, names)
    if is_main_process():
        _warn_of_damage(tars, found.shards)
    return found


def _find(places: Sequence[Path], tars: Tars, names: Sequence[str]) -> TarIndex | None:
    """An index in which all tars are as they are now."""
    stamps = tars.stamps(names)
    for place in places:
        shards, folders, inode = _read(place)
        if all(name in shards and shards[name][1:3] == stamp for name, stamp in zip(names, stamps)):
            return _index(place, [shards[name] for name in names], folders, inode, tars)
    return None


def _index(place: Path, shards: Sequence[Shard], folders: Sequence[str], inode: int, tars: Tars) -> TarIndex | None:
    """None where another run has put another file in the place of the one that was read or written."""
    if not any(shard.count for shard in shards):
        raise InputError(f"no image in the {len(shards)} tars of '{tars.root}', first {shards[0].name}: set data_root and shards, or "
                         f"--data, to tars that hold images ({', '.join(IMG_EXTENSIONS)})")
    index = TarIndex(str(place), shards, folders)
    return index if index.rows.inode == inode else None


def _read(path: Path) -> tuple[dict[str, Shard], list[str], int]:
    """Tars and folders of an index, and the number of the file; none where there is no file.

    Raises:
        InputError: It is another file.
    """
    try:
        rows = np.load(path, mmap_mode='r')
        ours = isinstance(rows, np.memmap) and rows.dtype == ROW
    except FileNotFoundError:
        return {}, [], 0
    except (OSError, ValueError, EOFError):
        ours = False
    if ours:
        with open(path, 'rb') as file:
            file.seek(-len(MARK) - 8, os.SEEK_END)
            length, mark = int.from_bytes(file.read(8), 'little'), file.read()
            if mark == MARK:
                file.seek(-len(MARK) - 8 - length, os.SEEK_END)
                about = json.loads(file.read(length))
                return {shard[0]: Shard(*shard) for shard in about['shards']}, about['folders'], os.fstat(file.fileno()).st_ino
    raise InputError(f"'{path}' is no index of tars, or is cut off: remove it, or set index of TarImages to another path")


def _make(places: Sequence[Path], tars: Tars, names: Sequence[str]) -> TarIndex:
    """Index the tars that no index has as they are, and write one with all, also those that were asked for at another time."""
    place = next(filter(_writable, places), places[-1])
    known: dict[str, tuple[Path, Shard, list[str]]] = {}
    for old in reversed(places):
        shards, folders, _ = _read(old)
        known.update((name, (old, shard, folders)) for name, shard in shards.items())
    now = dict(zip(names, tars.stamps(names)))
    others = [name for name in known if name not in now]
    now.update((name, known[name][1][1:3]) for name, there in zip(others, tars.exist(others)) if there)
    kept = {name: entry for name, entry in known.items() if entry[1][1:3] == now.get(name)}
    new = [name for name in names if name not in kept]
    print_log(f"Looking for images in {len(new)} tars of '{tars.root}', once: what is found is kept in {place}", 'current')
    start = time.perf_counter()
    with ThreadPoolExecutor(SCANNED_AT_ONCE) as pool:
        scans = dict(zip(new, pool.map(lambda name: _scan_one(tars, name), new)))
    _refuse_others(tars, scans)
    numbers: dict[str, int] = {}  # of folders
    shards, rows, labels, first = [], [], [], 0
    for name in now:
        scan = scans[name] if name in scans else _kept_scan(*kept[name])
        if scan.kind == 'folders':
            renumbered = np.array([numbers.setdefault(folder, len(numbers)) for folder in scan.folders], np.int32)
            scan = scan._replace(labels=renumbered[scan.labels])
        shards.append(Shard(name, *now[name], first, len(scan.offsets), scan.kind, scan.damage))
        some = np.zeros(len(scan.offsets), ROW)
        some['shard'], some['offset'], some['size'] = len(shards) - 1, scan.offsets, scan.sizes
        rows.append(some)
        labels.append(scan.labels)
        first += len(some)
    inode = _write(place, np.concatenate(rows), labels if any(shard.labels for shard in shards) else [], shards, [*numbers])
    shards = shards[:len(names)]
    found = sum(shard.count for shard in shards)
    print_log(f'{found:,} images in {len(names)} tars, found in {time.perf_counter() - start:.1f} s', 'current')
    return _index(place, shards, [*numbers], inode, tars) or _find(places, tars, names) or _make(places, tars, names)


def _writable(place: Path) -> bool:
    try:
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True)
        with TemporaryFile(dir=place.parent):
            return True
    except OSError:
        return False


def _write(path: Path, rows: np.ndarray, labels: Sequence[np.ndarray], shards: Sequence[Shard], folders: Sequence[str]) -> int:
    """At any moment the old file or the whole new one, whose number is returned."""
    partial = path.with_name(f'.{path.name}.{uuid4().hex}.partial')  # another run may be making the same
    about = json.dumps(dict(shards=shards, folders=folders)).encode()
    try:
        with open(partial, 'wb') as file:
            np.save(file, rows)
            for some in labels:
                file.write(some.astype('<i4').tobytes())
            file.write(about + len(about).to_bytes(8, 'little') + MARK)
            file.flush()
            os.fsync(file.fileno())
            inode = os.fstat(file.fileno()).st_ino
        os.replace(partial, path)
        return inode
    finally:
        partial.unlink(missing_ok=True)


class Scan(NamedTuple):
    """What is in a tar.

    Attributes:
        offsets: Of the images, in their order.
        sizes: Of the same.
        labels: Numbers of their folders, or classes; -1 without.
        kind: See :attr:`Shard.labels`.
        folders: Names of folders.
        damage: What is wrong.
        refusal: Why it is not a tar.
    """
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    kind: str | None = None
    folders: Sequence[str] = ()
    damage: str | None = None
    refusal: str | None = None


def _kept_scan(path: Path, shard: Shard, folders: list[str]) -> Scan:
    whole = np.load(path, mmap_mode='r')
    rows = whole[shard.first:shard.first + shard.count]
    labels = np.full(shard.count, -1, np.int32)
    if shard.labels and shard.count:
        labels = np.memmap(path, '<i4', 'r', whole.offset + whole.nbytes + 4 * shard.first, shard.count)
    if shard.labels == 'folders':
        used, labels = np.unique(labels, return_inverse=True)
        folders = [folders[number] for number in used.tolist()]
    return Scan(rows['offset'], rows['size'], labels, shard.labels, folders, shard.damage)


def _scan_one(tars: Tars, name: str) -> Scan:
    with tars.open(name) as file:
        return scan(file)


def scan(file: BinaryIO) -> Scan:
    """Find the images in a tar by their extensions; hidden files and folders are passed over, and so is what is not stored as a file."""
    images = _Images()
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode='r:') as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()
                if member.isreg() and member.offset_data + member.size <= length and not member.issparse():
                    images.add(member, file)
            damage = _what_follows(file, tar.offset)
    except tarfile.TarError as error:
        file.seek(0)
        start = file.read(6)
        kind = next((kind for magic, kind in COMPRESSED.items() if start.startswith(magic)), None)
        if kind or not images.offsets:
            return Scan(*np.zeros((3, 0), np.int64), refusal=f'compressed ({kind})' if kind else f'not a tar ({error})')
        damage = f'cut off or damaged ({error})'
    return images.scanned(damage)


def _what_follows(file: BinaryIO, offset: int) -> str | None:
    """What is wrong behind the last file of a tar, where blocks of zeros should be."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        return 'cut off, for it has no end'
    if any(block):
        return f'damaged at byte {offset}, what follows is left out'
    while block := file.read(CHUNK):
        if any(block):
            return 'several tars in one file, of which the first is read: unpack and pack them again'
    return None


class _Images:
    """Those of a tar, and what tells their classes."""

    def __init__(self):
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        self._folders: dict[str, int] = {}
        self._numbers: list[int] = []  # of their folders, -1 for none
        self._keys: list[str] = []  # their names up to the first dot
        self._classes: dict[str, int] = {}

    def add(self, member: tarfile.TarInfo, file: BinaryIO) -> None:
        parts = [part for part in member.name.split('/') if part not in ('', '.')]
        if not parts or any(part.startswith('.') for part in parts):
            return
        name = parts[-1].lower()
        if name.endswith(IMG_EXTENSIONS) and member.size <= LARGEST:
            self.offsets.append(member.offset_data)
            self.sizes.append(member.size)
            self._numbers.append(self._folders.setdefault(parts[0], len(self._folders)) if len(parts) > 1 else -1)
            self._keys.append(_key(parts))
        elif name.endswith('.cls'):
            file.seek(member.offset_data)
            with suppress(ValueError):
                self._classes[_key(parts)] = int(file.read(min(member.size, 20)))

    def scanned(self, damage: str | None) -> Scan:
        kind, labels = None, np.full(len(self.offsets), -1, np.int32)
        if self._classes and all(key in self._classes and 0 <= self._classes[key] < 2 ** 31 for key in self._keys):
            kind, labels = 'cls', np.array([self._classes[key] for key in self._keys], np.int32)
        elif self._numbers and min(self._numbers) >= 0:
            kind, labels = 'folders', np.array(self._numbers, np.int32)
        return Scan(np.array(self.offsets, np.uint64), np.array(self.sizes, np.uint32), labels, kind, [*self._folders], damage)


def _key(parts: Sequence[str]) -> str:
    return '/'.join([*parts[:-1], parts[-1].partition('.')[0]])


def _refuse_others(tars: Tars, scans: Mapping[str, Scan]) -> None:
    wrong = {name: scan.refusal for name, scan in scans.items() if scan.refusal}
    for name, refusal in wrong.items():
        if refusal.startswith('compressed'):
            raise InputError(not_seekable(tars.path(name), refusal[12:-1]))
    if wrong:
        some = ', '.join(f'{tars.path(name)} is {refusal}' for name, refusal in [*wrong.items()][:SHOWN])
        raise InputError(f'{len(wrong)} of the {len(scans)} tars that were looked into are none, first {some}: copy or download them '
                         'again, or remove them')


def _warn_of_damage(tars: Tars, shards: Sequence[Shard]) -> None:
    damaged = [shard for shard in shards if shard.damage]
    empty = [shard.name for shard in shards if not shard.count]
    for shard in damaged[:SHOWN]:
        print_log(f'{tars.path(shard.name)} is {shard.damage}: its first {shard.count} images are used, copy or download it again for the '
                  'rest', 'current', logging.WARNING)
    if len(damaged) > SHOWN:
        print_log(f'{len(damaged) - SHOWN} more of the {len(shards)} tars are cut off or damaged: '
                  + ', '.join(shard.name for shard in damaged[SHOWN:]), 'current', logging.WARNING)
    if empty:
        print_log(f"{len(empty)} of the {len(shards)} tars of '{tars.root}' hold no image: {', '.join(empty[:SHOWN])}"
                  + ' ...' * (len(empty) > SHOWN), 'current', logging.WARNING)
