"""Processes that load data: what they do where the machine fails them, and the memory they share with the one that trains."""
from __future__ import annotations

import ctypes
import errno
import io
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

SHARED_MEMORY = Path('/dev/shm')
PR_SET_PDEATHSIG = 1
SIGNALS = {signal.SIGINT, signal.SIGUSR1} | ({signal.SIGTERM} if hasattr(signal, 'sigwaitinfo') else set())


def prepare_workers(loader: DataLoader) -> None:
    """Have the workers of a loader report what they cannot send, and leave signals to the process that trains.

    A terminal, a cluster or a signal to a process group reaches them too, but only the one that trains may decide.
    """
    loader._get_iterator = partial(_start_iterator, loader._get_iterator)
    loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)


def _start_iterator(start: Callable[[], Iterator]) -> Iterator:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # processes and threads are born with it
    try:
        return start()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            error.filename = str(SHARED_MEMORY)  # where queues have their semaphores
        _MultiProcessingDataLoaderIter._shutdown = True  # else its half-made object complains when it goes
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(then: Callable[[int], None] | None, worker: int) -> None:
    with suppress(AttributeError, OSError):  # on Linux: else one that waits to send a batch outlives a parent that is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if signal.SIGTERM in SIGNALS:
        threading.Thread(target=_end_if_the_parent_says_so, daemon=True).start()
    sys.excepthook = _report  # of threads, which find the one that trains gone where it ended by an error
    # By itself the thread that sends batches drops one that finds no memory, and the process that trains waits for ever.
    Queue._on_queue_feeder_error = _send_error
    if then:
        then(worker)


def _end_if_the_parent_says_so() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _send_error(queue: Queue, error: Exception, item: tuple[int, Any]) -> None:
    """In place of a batch, the error that kept it from being sent; raised where the batch is awaited."""
    queue.put((item[0], ExceptionWrapper(where='a process that sends a batch')))


def free_shared_memory() -> int | None:
    """Bytes; None where the system has no such place."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def shared_bytes(batch: Any) -> int:
    """Bytes that a batch of any kind takes in shared memory, which holds its tensors."""
    counter = _TensorCounter(io.BytesIO())
    counter.dump(batch)
    return sum(counter.sizes.values())


class _TensorCounter(pickle.Pickler):
    """Meets the tensors of an object as sending it does."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.sizes: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> str | None:
        if not isinstance(obj, Tensor):
            return None
        storage = obj.untyped_storage()
        self.sizes[storage.data_ptr()] = storage.nbytes()
        return 'tensor'
