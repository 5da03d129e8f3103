"""What goes wrong with machines, and deep inside libraries, in a sentence."""
from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

import torch
from safetensors import SafetensorError

MEMORY = 'use fewer workers (train_dataloader.num_workers), a smaller train_dataloader.batch_size, or a machine or job with more memory'
SHARED_MEMORY = ('the shared memory in which workers hand over batches is full: give the container more (docker run --shm-size=8g, or '
                 '--ipc=host), lower train_dataloader.num_workers, prefetch_factor or batch_size, or load data in the process itself with '
                 'train_dataloader.num_workers=0')
ELSEWHERE = 'choose another folder, such as by --work-dir, for features by --cfg-options test_cfg.cache=FOLDER'
ADVICE = {
    errno.ENOSPC: 'the disk is full, make room',
    errno.EDQUOT: 'the quota of disk space is used up, make room',
    errno.EFBIG: 'files may not become that large here, raise the limit (ulimit -f)',
    errno.EROFS: f'nothing can be written there, {ELSEWHERE}',
    errno.EACCES: f'this user may not do that, change the permissions or {ELSEWHERE}',
    errno.EPERM: f'this user may not do that, change the permissions or {ELSEWHERE}',
    errno.ENOENT: 'it was removed, or is on a disk that is no longer there',
    errno.ENOTDIR: f'a file is where a folder is needed, remove it or {ELSEWHERE}',
    errno.EEXIST: f'a file is where a folder is needed, remove it or {ELSEWHERE}',
    errno.ESTALE: 'the network file system has lost it, look whether it is mounted',
    errno.EIO: 'the disk or the way to it fails, look at the system log',
    errno.ENXIO: 'the disk or the way to it fails, look at the system log',
    errno.ENOTCONN: 'the network file system has lost its server, look whether it is mounted',
    errno.ETIMEDOUT: 'the network or the network file system does not answer',
    errno.EMFILE: 'too many files are open, raise the limit (ulimit -n) or use fewer workers (train_dataloader.num_workers)',
    errno.ENFILE: 'the machine has too many open files, use fewer workers (train_dataloader.num_workers)',
    errno.EAGAIN: 'no more processes can be started, raise the limit (ulimit -u) or use fewer workers (train_dataloader.num_workers)',
    errno.ENOMEM: f'the machine ran out of memory, {MEMORY}',
}
WORKER = re.compile(r'DataLoader worker \(pid.*?\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)|'
                    'process pool was terminated abruptly')
PEER = re.compile('Connection (closed|reset) by peer|remote process exited|Broken pipe .*pair|failed to connect to peer', re.IGNORECASE)


def explain_fault(error: BaseException) -> str | None:
    """One sentence that says what was wrong with the machine and what to do; None where it was not the machine.

    Other errors may have been raised on top of it, by who cleaned up or by a library that took it for something else.
    """
    return next(filter(None, map(_explain, causes(error))), None)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _explain(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or 'CUDA error: out of memory' in text:
        return (f'the GPU ran out of memory ({_first_line(text)}): lower train_dataloader.batch_size, with as much higher '
                'optim_wrapper.accumulative_counts, use --amp bf16, or look with nvidia-smi who else uses the GPU')
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and 'MemoryError: ' in text:  # numpy's, from a worker
        return f'the machine ran out of memory: {MEMORY}'
    if isinstance(error, ValueError) and 'Expected more than 1 value per channel' in text:
        return ('batch normalisation is not defined for the single value that a lone image gives it, pooled to 1 x 1 as by UperNet: '
                'raise train_dataloader.batch_size to 2 or more, or set norm_cfg=dict(type="GN", num_groups=32)')
    if not isinstance(error, (OSError, RuntimeError, SafetensorError)):
        return None
    if found := WORKER.search(text):
        return _explain_worker(found[1])
    if isinstance(error, RuntimeError) and PEER.search(text):
        return 'another process of this run has ended, its own message says why'
    if 'PytorchStreamWriter failed' in text or 'unexpected pos' in text:
        return 'a file could not be written to its end: the disk is full, or the folder is gone'
    for number, advice in ADVICE.items():
        meaning = os.strerror(number)
        if getattr(error, 'errno', None) == number or meaning in text:
            if number == errno.ENOSPC and ('shared memory' in text or '/dev/shm' in text):
                return SHARED_MEMORY
            return f'{meaning.lower()}{_file(error, text)}: {advice}'
    return None


def _explain_worker(signal: str | None) -> str:
    if signal == 'Bus error':
        return SHARED_MEMORY
    if signal in ('Killed', None):
        return ('a process that loads data was killed, most likely because the machine or job ran out of memory (the system log says so): '
                + MEMORY)
    return f'a process that loads data died ({signal.strip()}): look for the image it was at with train_dataloader.num_workers=0'


def _file(error: BaseException, text: str) -> str:
    named = getattr(error, 'filename', None)
    if named is None:
        found = re.search(r"\[Errno \d+\] [^'\n]*: '([^'\n]+)'", text)
        named = found and found[1]
    return f" ('{os.fsdecode(named)}')" if isinstance(named, (str, bytes)) else ''


def _first_line(text: str) -> str:
    return text.strip().split('. ')[0].splitlines()[0] if text.strip() else 'out of memory'
