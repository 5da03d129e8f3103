from __future__ import annotations

import argparse
import os
import pickle
import re
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdssl.checkpoint.files import latest_checkpoint, read_checkpoint, whole_file
from mmdssl.errors import InputError


class Evil:

    def __reduce__(self):
        return exec, ('import builtins; builtins.harmed = True',)


class Call:

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stealthy:
    """Asks for more than the log history's own methods of ``getattr``."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / 'file.pth'
    file.write_text('old')
    with pytest.raises(OSError), whole_file(file) as partial:
        partial.write_text('half of the n')
        raise OSError('disk full')
    assert file.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [file]
    with whole_file(file) as partial:
        partial.write_text('new')
    assert file.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [file]


def test_what_checkpoints_of_mmengine_and_dino_hold_is_read(tmp_path):
    file = tmp_path / 'file.pth'
    content = dict(weight=torch.arange(3.), args=argparse.Namespace(lr=0.1), epoch=3,
                   history=HistoryBuffer([1., 2.], [1, 1]), array=np.arange(4), number=np.float64(2.5))
    torch.save(content, file)
    read = read_checkpoint(file)
    assert torch.equal(read['weight'], content['weight']) and read['args'].lr == 0.1
    assert read['history'].mean() == 1.5 and read['array'].tolist() == [0, 1, 2, 3] and read['number'] == 2.5


@pytest.mark.parametrize('content, name', [(Evil(), 'exec'), (Stealthy(), 'getattr')])
@pytest.mark.parametrize('legacy', [False, True])
def test_a_pickle_that_could_run_code_is_refused(tmp_path, content, name, legacy):
    file = tmp_path / 'file.pth'
    torch.save(dict(weight=torch.zeros(1), extra=content), file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=rf'{name}.*ask its source') as caught:
        read_checkpoint(file)
    assert 'weights_only' not in str(caught.value), 'no advice to load it all the same'
    import builtins
    assert not hasattr(builtins, 'harmed')


@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize('call, name', [((os.system, 'true'), 'posix.system'), ((subprocess.Popen, 'true'), 'subprocess.Popen'),
                                        ((eval, '1'), 'builtins.eval'), ((torch.load, 'x'), 'torch.serialization.load')])
def test_a_refused_pickle_is_named_by_what_it_wants_to_call(call, name, protocol, tmp_path):
    """Also in the pickle protocols that PyTorch refuses before it sees the call."""
    file = tmp_path / 'file.pth'
    file.write_bytes(pickle.dumps(dict(state_dict=Call(*call)), protocol=protocol))
    with pytest.raises(InputError, match=rf'wants to call {re.escape(name)}\)'):
        read_checkpoint(file)


def test_a_harmless_pickle_of_another_protocol_is_not_called_dangerous(tmp_path):
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'file.pth', pickle_protocol=4)
    with pytest.raises(InputError, match=r'does not read safely \(protocol 4\)'):
        read_checkpoint(tmp_path / 'file.pth')


def test_one_flipped_bit_of_a_tensor_is_noticed(tmp_path):
    """PyTorch itself does not compare the checksums."""
    file = tmp_path / 'file.pth'
    torch.save(dict(weight=torch.arange(1000.)), file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert torch.load(file)['weight'].shape == (1000, )
    with pytest.raises(InputError, match='Bad CRC-32.*cut short'):
        read_checkpoint(file)


def test_files_written_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(weight=torch.ones(9)), tmp_path / 'file.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(tmp_path / 'file.pth')['weight'].sum() == 9


@pytest.mark.parametrize('content', [[1], 3, None, torch.ones(2), 'text'])
def test_a_file_of_something_else_than_a_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(InputError, match=f'holds a {type(content).__name__}, not a dict: give a file with a dict'):
        read_checkpoint(tmp_path / 'file.pth')


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'file.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', bytes(10**6))
    with pytest.raises(InputError, match='would unpack to 1,000,000 bytes'):
        read_checkpoint(tmp_path / 'file.pth')


def test_missing_and_damaged_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match='does not exist'):
        read_checkpoint(tmp_path / 'none.pth')
    file = tmp_path / 'file.pth'
    torch.save(dict(weight=torch.zeros(1000)), file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match='damaged or'):
        read_checkpoint(file)
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError):
        read_checkpoint(file)


def test_latest_checkpoint_follows_a_moved_folder(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_bytes(b'\xff\0')
    assert latest_checkpoint(tmp_path) is None, 'a damaged note names nothing'
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    (tmp_path / 'epoch_2.pth').touch()
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'


def test_the_latest_checkpoint_is_that_of_the_folder_itself(tmp_path):
    original, copied = tmp_path / 'original', tmp_path / 'copied'
    for folder in (original, copied):
        folder.mkdir()
        (folder / 'epoch_2.pth').touch()
        (folder / 'last_checkpoint').write_text(str(original / 'epoch_2.pth'))
    assert latest_checkpoint(copied) == copied / 'epoch_2.pth'
    (copied / 'epoch_2.pth').unlink()
    assert latest_checkpoint(copied) == original / 'epoch_2.pth'


@pytest.mark.parametrize('note', [None, b'\xff\xfe', b'epoch_9.pth', b''])
def test_without_a_note_the_newest_checkpoint_is_the_latest(tmp_path, note):
    assert latest_checkpoint(tmp_path) is None
    for age, name in enumerate(('iter_40.pth', 'epoch_3.pth', 'epoch_12.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / 'mine.pth').touch()
    if note is not None:
        (tmp_path / 'last_checkpoint').write_bytes(note)
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_40.pth'
