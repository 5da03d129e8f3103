from __future__ import annotations

import re

import pytest
import torch
from torch.utils.data import TensorDataset
from toy import Killed, Runner

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


def weights_alone(content):
    return dict(state_dict=content['state_dict'])


def without_meta(content):
    return {key: value for key, value in content.items() if key != 'meta'}


def without_history(content):
    return {key: value for key, value in content.items() if key != 'message_hub'}


def no_numbers(content):
    content['state_dict']['student.0.weight'][0, 0] = float('nan')
    return content


def whole_numbers(content):
    content['state_dict']['student.0.weight'] = content['state_dict']['student.0.weight'].long()
    return content


def bad_momentum(content):
    content['optimizer']['state'][0]['exp_avg'][0] = float('inf')
    return content


@pytest.fixture
def damaged(train, tmp_path):
    """Function that damages the checkpoint of a trained toy and returns its path."""
    train(**{'train_cfg.max_epochs': 1})

    def damage(change) -> str:
        path = tmp_path / 'run/epoch_1.pth'
        torch.save(change(torch.load(path, weights_only=False)), path)
        return str(path)
    return damage


@pytest.mark.parametrize('change, words', [
    (weights_alone, r'no checkpoint of a run, for it has no meta, message_hub and optimizer.*load_from'),
    (without_meta, r"cannot be continued from, for meta\['epoch'\] and meta\['iter'\] are missing"),
    (without_history, r"cannot be continued from, for message_hub\['log_scalars'\]"),
    (no_numbers, r'student\.0\.weight has 1 of 64 values'),
    (whole_numbers, r'student\.0\.weight is of the type int64'),
    (bad_momentum, r'optimizer\.state\.0\.exp_avg is not finite'),
    (lambda content: [content], 'holds a list'), (lambda content: dict(content, state_dict=3), 'holds no weights of a model'),
    (lambda content: dict(content, optimizer=dict(content['optimizer'], param_groups=[])), 'with this config .ValueError')])
def test_resume_refuses_what_is_no_sound_checkpoint_of_a_run(change, words, damaged, train):
    with pytest.raises(InputError, match=words):
        train(resume=True, load_from=damaged(change), **{'train_cfg.max_epochs': 1})


@pytest.mark.parametrize('change, words', [(no_numbers, r'student\.0\.weight has 1 of 64 values'), (lambda content: 3, 'holds a int'),
                                           (lambda content: dict(content, state_dict=[]), 'holds no weights of a model')])
def test_load_from_refuses_unsound_weights(change, words, damaged, train):
    with pytest.raises(InputError, match=words):
        train('other', load_from=damaged(change), **{'train_cfg.max_epochs': 1})


def test_load_from_takes_weights_alone(damaged, train):
    assert train('other', load_from=damaged(weights_alone), **{'train_cfg.max_epochs': 1}).iter == 6


def test_the_checkpoint_can_be_read_by_mmengine(train, tmp_path):
    from mmengine.runner import load_checkpoint
    runner = train()
    torch.manual_seed(1)
    other = type(runner.model)()
    load_checkpoint(other, str(tmp_path / 'run/epoch_3.pth'), strict=True)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in runner.model.state_dict().items())


def test_data_of_a_config_that_inherits_from_another_package_is_collated():
    """MMEngine gives everything in such a config a scope, and hands that of ``collate_fn`` on to the function."""
    loader = Runner.build_dataloader(dict(dataset=TensorDataset(torch.arange(4)), sampler=dict(type='DefaultSampler', shuffle=False),
                                          batch_size=2, collate_fn=dict(type='default_collate', _scope_='mmdssl')))
    assert [batch[0].tolist() for batch in loader] == [[0, 1], [2, 3]]
