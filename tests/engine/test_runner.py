from __future__ import annotations

import re

import pytest
import torch
from toy import Killed

from mmdssl.errors import InputError

KEEP_ONE = {'default_hooks.checkpoint': dict(type='CheckpointHook', max_keep_ckpts=1)}


def log_of(runner) -> str:
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        return file.read()


def test_learning_rate_follows_the_global_batch(train):
    runner = train(auto_scale_lr=dict(enable=True, base_batch_size=64), **{'optim_wrapper.accumulative_counts': 3})
    assert runner.global_batch_size == 12
    assert [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups] == [pytest.approx(0.01 * 12 / 64)] * 2
    assert re.search(r'Learning rate 0.01 -> 0.00187: .* 64 images .* has 12 \(4 per process x 1 processes x 3 acc',
                     log_of(runner))


def test_learning_rate_is_not_scaled_unless_asked(train):
    runner = train(auto_scale_lr=dict(enable=False, base_batch_size=64))
    assert runner.optim_wrapper.get_lr() == dict(lr=[0.01])


def test_resume_without_a_checkpoint_starts_from_scratch(train):
    runner = train(resume=True)
    assert runner.iter == 18
    assert 'to resume from: starting from scratch' in log_of(runner)


@pytest.mark.parametrize('moment', ['torch.save', 'mmdssl.checkpoint.files.os.replace'])
def test_a_crash_while_saving_leaves_the_previous_checkpoint(train, tmp_path, monkeypatch, moment):
    """One file is kept, and the crash comes while the second is written, before or after its last byte."""
    train(**KEEP_ONE, **{'train_cfg.max_epochs': 1})
    folder = tmp_path / 'run'
    before = (folder / 'epoch_1.pth').read_bytes()
    original, calls = torch.save, []

    def crash(*args, **kwargs):
        calls.append(args)
        if moment == 'torch.save':
            original(dict(), folder / 'something')  # the old file must not be in the way either
        raise Killed
    monkeypatch.setattr(moment, crash)
    with pytest.raises(Killed):
        train(**KEEP_ONE, **{'train_cfg.max_epochs': 2})
    assert calls
    assert (folder / 'epoch_1.pth').read_bytes() == before
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_1.pth')
    assert not list(folder.glob('*.partial')) and not list(folder.glob('.*.partial'))


def test_old_checkpoints_go_after_the_new_one_is_there(train, tmp_path):
    runner = train(**KEEP_ONE)
    folder = tmp_path / 'run'
    assert [file.name for file in folder.glob('*.pth')] == ['epoch_3.pth']
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_3.pth')
    assert runner.message_hub.get_info('kept_ckpts') == ['epoch_3.pth']


def test_resume_refuses_another_model(train):
    train(**{'train_cfg.max_epochs': 1})
    with pytest.raises(InputError, match='cannot change model.width None -> 16: resume'):
        train(resume=True, **{'train_cfg.max_epochs': 1, 'model.width': 16})


def test_resume_refuses_a_missing_file(train):
    with pytest.raises(InputError, match='nothing.pth does not exist'):
        train(resume=True, load_from='nothing.pth')


def test_the_checkpoint_can_be_read_by_mmengine(train, tmp_path):
    from mmengine.runner import load_checkpoint
    runner = train()
    torch.manual_seed(1)
    other = type(runner.model)()
    load_checkpoint(other, str(tmp_path / 'run/epoch_3.pth'), strict=True)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in runner.model.state_dict().items())
