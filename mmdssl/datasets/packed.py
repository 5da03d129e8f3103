"""Lists of millions that processes share: paths in one array of bytes, and what is known of images without an object for each."""
from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np

from mmdssl.errors import InputError

CHUNK = 65536
END = '\0'  # of a name, which no name holds
WHOLE = '\1'  # in front of a path that does not begin with the root


class SharedArray:
    """A read-only array that other processes map into memory and do not copy.

    Processes that are forked share its pages with this one. What is pickled, for processes that are spawned, is the path of a file that
    lives as long as the array.

    Attributes:
        values: The array.
    """

    def __init__(self, values: np.ndarray):
        self.values = values
        self._file: tuple[str, int] | None = None

    @classmethod
    def of(cls, path: str) -> SharedArray:
        """The array of an ``.npy`` file, which stays."""
        number = None
        while number != os.stat(path).st_ino:  # another process may have put another file there meanwhile
            number = os.stat(path).st_ino
            array = cls(np.load(path, mmap_mode='r'))
        array._file = path, number
        return array

    @property
    def inode(self) -> int | None:
        """The number of the file that is mapped."""
        return self._file and self._file[1]

    def __len__(self) -> int:
        return len(self.values)

    def __deepcopy__(self, memo: dict) -> SharedArray:
        return self

    def __reduce__(self):
        if self._file is None or not _is_still(*self._file):
            handle, path = tempfile.mkstemp('.npy', 'mmdssl-')
            weakref.finalize(self, _remove, path, os.getpid())
            with open(handle, 'wb') as file:
                np.save(file, self.values)
            self._file = path, os.stat(path).st_ino
            self.values = np.load(path, mmap_mode='r')  # so that there is one of it
        return _mapped, self._file


def _mapped(path: str, inode: int) -> SharedArray:
    array = SharedArray.of(path)
    if array.inode != inode:
        raise InputError(f"'{path}' was replaced while processes that read it were started: start again")
    return array


def _is_still(path: str, inode: int) -> bool:
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return False


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked from it
        with suppress(OSError):
            os.unlink(path)


class PackedPaths(Sequence):
    """Paths, one after the other in an array of bytes, without the root that most begin with.

    Args:
        paths: Read once.
        root: A folder.

    Raises:
        InputError: A path holds a NUL, which no name of a file does.
    """

    def __init__(self, paths: Iterable[str], root: str = ''):
        self._root = os.path.join(root, '')
        text, ends, paths = bytearray(), [], iter(paths)
        root, begin = self._root, len(self._root)
        while chunk := [path[begin:] if path.startswith(root) and path[begin:begin + 1] != WHOLE else WHOLE + path
                        for path in islice(paths, CHUNK)]:
            encoded = END.join([*chunk, '']).encode(errors='surrogateescape')
            if encoded.count(b'\0') != len(chunk):
                strange = next(name for name in chunk if END in name)
                raise InputError(f'{strange!r} is no path, for it holds a NUL: correct the list of images')
            ends.append(np.flatnonzero(np.frombuffer(encoded, np.uint8) == 0) + len(text))
            text += encoded
        self._text = SharedArray(np.frombuffer(text, np.uint8))
        self._ends = SharedArray(np.concatenate(ends or [np.zeros(0, int)]).astype(np.min_scalar_type(len(text))))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        ends = self._ends.values
        path, = self._between(int(ends[index - 1]) + 1 if index else 0, int(ends[index]))
        return path

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.values[CHUNK - 1::CHUNK].tolist() + self._ends.values[-1:].tolist():
            if start <= end:
                yield from self._between(start, end)
            start = end + 1

    def _between(self, start: int, end: int) -> list[str]:
        names, root = self._text.values[start:end].tobytes().decode(errors='surrogateescape').split(END), self._root
        return [name[1:] if name.startswith(WHOLE) else root + name for name in names]


class ImageFiles(Sequence):
    """What a data set knows of its images: for each ``dict(img_path=...)``, made when it is asked for, and ``label`` where there are.

    Args:
        paths: Of the images.
        labels: ``(n,)`` classes.
    """

    def __init__(self, paths: Sequence[str], labels: np.ndarray | None = None):
        self.paths = paths
        self.labels = None if labels is None else SharedArray(labels)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        info = dict(img_path=self.paths[index])
        return info if self.labels is None else dict(info, label=int(self.labels.values[index]))


class Chosen(Sequence):
    """Some elements of another sequence.

    Args:
        whole: The sequence.
        positions: ``(n,)`` of those that are chosen, in their order.
    """

    def __init__(self, whole: Sequence, positions: np.ndarray):
        self.whole = whole
        self.positions = SharedArray(positions)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int):
        return self.whole[int(self.positions.values[index])]
