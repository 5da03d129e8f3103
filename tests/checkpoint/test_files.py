from __future__ import annotations

import argparse
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdssl.checkpoint.files import latest_checkpoint, read_checkpoint, whole_file
from mmdssl.errors import InputError


class Evil:

    def __reduce__(self):
        return exec, ('import builtins; builtins.harmed = True',)


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
    with pytest.raises(InputError, match=rf'(?s){name}.*weights_only=False'):
        read_checkpoint(file)
    import builtins
    assert not hasattr(builtins, 'harmed')


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
    (tmp_path / 'epoch_2.pth').touch()
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
