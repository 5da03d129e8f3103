from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch
from numpy._core._exceptions import _ArrayMemoryError
from safetensors.torch import save_file
from torch._utils import ExceptionWrapper

from mmdssl.checkpoint.files import whole_file
from mmdssl.datasets.images import read_rgb
from mmdssl.engine.faults import explain_fault


def raised(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), file) if file else OSError(number, os.strerror(number))


def in_a_worker(error: Exception) -> Exception:
    """As a loader raises it again in the process that trains."""
    try:
        raise error
    except Exception:
        wrapper = ExceptionWrapper(where='in DataLoader worker process 0')
    try:
        wrapper.reraise()
    except Exception as again:
        return again


def test_one_image_that_is_pooled_to_one_pixel_cannot_be_normalised():
    with pytest.raises(ValueError) as raised:
        torch.nn.BatchNorm2d(4)(torch.ones(1, 4, 1, 1))
    assert 'raise train_dataloader.batch_size to 2 or more' in explain_fault(raised.value)


@pytest.mark.parametrize('error, sentence', [
    (raised(errno.ENOSPC, 'run/epoch_1.pth'), "no space left on device ('run/epoch_1.pth'): the disk is full, make room"),
    (raised(errno.ENOSPC, '/dev/shm'), 'docker run --shm-size'),
    (raised(errno.EDQUOT), 'the quota of disk space is used up'),
    (raised(errno.EFBIG, 'a'), 'ulimit -f'),
    (raised(errno.EACCES, 'a'), "permission denied ('a'): this user may not do that"),
    (raised(errno.EROFS, 'a'), "read-only file system ('a')"),
    (raised(errno.ENOENT, 'run/results.jsonl'), "no such file or directory ('run/results.jsonl'): it was removed"),
    (raised(errno.EMFILE), 'ulimit -n'),
    (raised(errno.ESTALE), 'look whether it is mounted'),
    (raised(errno.ENOMEM), 'the machine ran out of memory'),
    (raised(errno.EAGAIN), 'ulimit -u'),
    (in_a_worker(raised(errno.EACCES, '/data/a.jpg')), "permission denied ('/data/a.jpg')"),
    (in_a_worker(MemoryError()), 'the machine ran out of memory'),
    (in_a_worker(_ArrayMemoryError((9, 9), np.dtype(np.uint8))), 'the machine ran out of memory'),
    (in_a_worker(RuntimeError('unable to open shared memory object </torch_1_2> in read-write mode: Too many open files (24)')),
     'too many open files: too many files are open, raise the limit'),
    (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), 'use fewer workers (train_dataloader.num_workers)'),
    (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), 'a process that loads data was killed'),
    (RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error. It is possible'), 'docker run --shm-size'),
    (RuntimeError('DataLoader worker (pid 7) is killed by signal: Segmentation fault. '), 'died (Segmentation fault)'),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:1] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. "
                  'Error code 12 (Cannot allocate memory)'), 'the machine ran out of memory'),
    (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has'), 'lower train_dataloader.batch_size'),
    (RuntimeError('[pair.cc:5] Connection closed by peer [127.0.0.1]:3'), 'another process of this run has ended'),
])
def test_faults_of_the_machine_are_a_sentence(error, sentence):
    told = explain_fault(error)
    assert sentence in told and '\n' not in told and 'Traceback' not in told


@pytest.mark.parametrize('error', [KeyError('a'), RuntimeError('mat1 and mat2 shapes cannot be multiplied'), ValueError('Killed'),
                                   OSError('something'), AssertionError()])
def test_what_is_not_the_machines_fault_is_not_explained(error):
    assert explain_fault(error) is None


def test_what_was_raised_on_top_of_a_fault_does_not_hide_it():
    with pytest.raises(SyntaxError) as caught:
        try:
            raise raised(errno.ENOSPC)
        except OSError as error:
            raise SyntaxError('Failed to format the config file') from error
    assert 'the disk is full' in explain_fault(caught.value)


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(path):
        raise raised(errno.ENOSPC)
    monkeypatch.setattr('mmdssl.checkpoint.files._to_disk', full)
    with pytest.raises(OSError) as caught, whole_file(tmp_path / 'a.pth') as partial:
        partial.touch()
    assert f"('{tmp_path / 'a.pth'}')" in explain_fault(caught.value)
    assert not list(tmp_path.iterdir())


def test_safetensors_that_find_no_room_are_explained():
    with pytest.raises(Exception) as caught:
        save_file(dict(a=torch.zeros(3)), '/dev/null/x')
    assert 'not a directory: a file is where a folder is needed' in explain_fault(caught.value)


@pytest.mark.parametrize('error', [raised(errno.EMFILE), raised(errno.ESTALE), MemoryError()])
def test_an_image_is_not_blamed_for_the_machine(tmp_path, monkeypatch, error):
    def fail(path):
        raise error
    monkeypatch.setattr('mmdssl.datasets.images.open_file', fail)
    with pytest.raises(type(error)):
        read_rgb(str(tmp_path / 'a.png'))
