"""Text files that list names."""
from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from mmengine.logging import print_log

from mmdssl.datasets.images import open_file
from mmdssl.errors import InputError


def read_lines(path: str | Path, what: str, remedy: str, unique: bool = True) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark, without space around them and without blank ones.

    Args:
        path: The file.
        what: What a line names, such as ``'image'``.
        remedy: What to do where there is no such file.
        unique: A line counts once, and a warning says how many there are again; else as often as it is there.

    Raises:
        InputError: The file does not exist, cannot be read, or is empty.
    """
    lines = [*each_line(path, what, remedy)]
    if not unique:
        return lines
    once = Counter(lines)
    if len(once) < len(lines):
        again = next(line for line, count in once.items() if count > 1)
        print_log(f"{len(lines) - len(once)} of the {len(lines)} lines of '{path}' are there again, first '{again}': each counts once",
                  'current', logging.WARNING)
    return list(once)


def each_line(path: str | Path, what: str, remedy: str) -> Iterator[str]:
    """The lines that :func:`read_lines` gives, as often as they are there, one after the other."""
    empty = True
    try:
        with open_file(str(path)) as file, TextIOWrapper(file, 'utf-8-sig') as text:
            for line in map(str.strip, text):
                if line:
                    empty = False
                    yield line
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist: {remedy}") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error}): {remedy}") from None
    except UnicodeDecodeError:
        raise InputError(f"'{path}' cannot be read, line {_undecodable(path)} is no text in UTF-8: save the file in UTF-8, or "
                         f'{remedy}') from None
    if empty:
        raise InputError(f"'{path}' names no {what}: write one per line")


def _undecodable(path: str | Path) -> int:
    """The number of the first line that is no text in UTF-8."""
    with open_file(str(path)) as file:
        return next((number for number, line in enumerate(file, 1) if line.decode(errors='ignore').encode() != line), 1)
