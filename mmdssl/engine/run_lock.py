"""One run per work dir."""
from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from mmengine.dist import broadcast_object_list, is_main_process

from mmdssl.errors import InputError

_HELD: dict[Path, TextIO] = {}
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def hold(folder: str | Path) -> None:
    """Keep a folder for this run; in a distributed one the main process does, and all call this.

    It is held by a lock on ``folder/.lock`` that belongs to the process alone, not to those that load its data: the
    system lets go of it with :func:`release` or when the process ends, in whichever way. It works between machines where
    the network file system has locks (NFS 4, NFS 3 with its lock daemon, most Lustre), and where there are none it does
    nothing. The process itself may hold a folder again.

    Raises:
        InputError: Another process holds it, on every process.
    """
    refusal = [_hold(Path(folder).resolve()) if is_main_process() else None]
    broadcast_object_list(refusal)
    if refusal[0]:
        raise InputError(refusal[0])


def _hold(folder: Path) -> str | None:
    """Why it cannot be held, if it cannot."""
    if folder in _HELD:
        return None
    file = open(folder / '.lock', 'a+', encoding='utf-8')  # noqa: SIM115  to be held
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with file:
            if error.errno in NO_LOCKS_HERE:
                return None
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            file.seek(0)
            return (f"'{folder}' is in use by {file.read().strip() or 'another run'}: wait for it, end it, or choose another folder "
                    'with --work-dir')
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}, started {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
    file.flush()
    _HELD[folder] = file
    return None


def release(folder: str | Path) -> None:
    """Let go of a folder, where this process holds it."""
    file = _HELD.pop(Path(folder).resolve(), None)
    if file:
        file.close()
