from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mmdssl.checkpoint.files import read_checkpoint, read_safetensors
from mmdssl.errors import InputError


def packed(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == 'tar':
        with tarfile.open(fileobj=stream, mode='w') as archive:
            archive.addfile(tarfile.TarInfo('weights.pth'))
    elif kind == 'zip':
        with zipfile.ZipFile(stream, 'w') as archive:
            archive.writestr('weights.txt', 'none')
    elif kind == 'npz':
        np.savez(stream, weight=np.ones(3))
    else:
        Image.new('RGB', (4, 4)).save(stream, kind)
    return stream.getvalue()


OTHERS = [
    (b'', 'an empty file'),
    (bytes(5000), 'a file that begins with zeros alone'),
    (b'\n<!DOCTYPE html>\n<html><body>404</body></html>', 'a web page: the download went wrong'),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'an XML document: the download went wrong'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n', 'a Git LFS pointer'),
    (json.dumps(dict(epoch=1)).encode(), 'a JSON file'),
    ('Ask Zoë for the weights.\nHere.'.encode(), "a text file ('Ask Zoë for the weights.')"),
    (gzip.compress(b'weights'), 'a gzip archive: unpack it'),
    (bz2.compress(b'weights'), 'a bzip2 archive: unpack it'),
    (packed('tar'), 'a tar archive: unpack it'),
    (packed('zip'), 'a zip archive without'),
    (packed('npz'), 'an archive of NumPy arrays'),
    (packed('png'), 'a PNG image'),
    (packed('jpeg'), 'a JPEG image'),
]


@pytest.mark.parametrize('content, kind', OTHERS, ids=[kind for _, kind in OTHERS])
@pytest.mark.parametrize('read, suffix, wanted', [(read_checkpoint, 'pth', 'PyTorch checkpoint'),
                                                  (read_safetensors, 'safetensors', 'safetensors file')])
def test_other_files_are_named_as_what_they_are(content, kind, read, suffix, wanted, tmp_path):
    path = tmp_path / f'model.{suffix}'
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert f'is not a {wanted} but {kind}' in str(caught.value)
    assert 'weights_only' not in str(caught.value) and '\n' not in str(caught.value)


def test_a_wrong_suffix_is_named(tmp_path):
    save_file(dict(weight=torch.ones(2)), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'but a safetensors file: rename it to end in \.safetensors'):
        read_checkpoint(tmp_path / 'a.pth')
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'a.safetensors')
    with pytest.raises(InputError, match=r'but a PyTorch checkpoint: rename it to end in \.pth'):
        read_safetensors(tmp_path / 'a.safetensors')


def test_a_torchscript_program_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        for name in ('a/data.pkl', 'a/constants.pkl', 'a/code/model.py'):
            archive.writestr(name, 'x')
    with pytest.raises(InputError, match='but a TorchScript program'):
        read_checkpoint(tmp_path / 'a.pth')


def test_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match='is a folder: give the path of a .pth or .safetensors file in it$'):
        read_checkpoint(tmp_path)
    (tmp_path / 'model.safetensors').touch()
    with pytest.raises(InputError, match='such as .*/model.safetensors$'):
        read_checkpoint(tmp_path)
