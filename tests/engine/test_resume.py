from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from toy import Killed, colour_folders, history, knn_config, toy_config

from mmdssl.checkpoint.config_data import config_to_json, read_config
from mmdssl.engine.hooks import CheckpointHook
from mmdssl.engine.replay import replay
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS

BASE = 0.01
SCHEDULES = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-4, begin=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[2], gamma=0.5)]


def log_of(runner) -> str:
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


def killed_after(iterations: int) -> dict:
    return {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='KillHook', after=iterations)]}


def edit(path: Path, change) -> None:
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)


def planted(node, text: str):
    """A copy in which every text is another."""
    if isinstance(node, str):
        return text
    if isinstance(node, dict):
        return type(node)((key, planted(value, text)) for key, value in node.items())
    return [planted(value, text) for value in node] if isinstance(node, list) else node


# ---- nothing in a file is run


@pytest.mark.parametrize('form', ["__import__('os').system('touch {}')", "model = __import__('os').system('touch {}')",
                                  "_base_ = [__import__('os').system('touch {}')]", '{{{{ __import__("os").system("touch {}") }}}}'])
def test_text_of_a_checkpoint_is_not_run(train, tmp_path, form):
    train()
    file, marker = tmp_path / 'run/epoch_2.pth', tmp_path / 'marker'
    text = form.format(marker)

    def plant(checkpoint):
        checkpoint['meta'] = {**planted(checkpoint['meta'], text), 'config': text, 'hook_msgs': text}
        checkpoint['message_hub']['runtime_info'] = planted({'cfg': 0, **checkpoint['message_hub']['runtime_info']}, text) | dict(
            max_epochs=3, max_iters=18, kept_ckpts=[text], outdated_ckpts=[text], cfg=text)
        checkpoint['message_hub']['resumed_keys']['cfg'] = True
        del checkpoint['meta']['images']
    edit(file, plant)
    assert train(resume=True, load_from=str(file)).iter == 18
    assert not marker.exists()


@pytest.mark.parametrize('config', [
    "model = dict(type='ToyAlgorithm')\noptim_wrapper = dict()\n__import__('os').system('touch {}')",
    "model = __import__('os').system('touch {}')\noptim_wrapper = dict()",
    '{{"model": {{"type": "os.system", "command": "touch {}"}}, "optim_wrapper": {{}}}}',
    '{{"model": {{"type": "ToyAlgorithm", "init_cfg": [{{"type": "os.system", "command": "touch {}"}}]}}, "optim_wrapper": {{}}}}',
])
def test_text_of_a_replay_is_not_run(train, tmp_path, config):
    with pytest.raises(InputError, match='not finite'):
        train(**{'train_dataloader.dataset.bad': 5})
    file, = (tmp_path / 'run').glob('replay_*.pth')
    edit(file, lambda saved: saved.update(config=config.format(tmp_path / 'marker')))
    try:
        replay(file)
    except InputError as error:
        assert str(file) in str(error)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize('planted_model', [
    dict(type='os.system', command='true'), dict(type='mmdet.FasterRCNN'), dict(type='mmdssl.DINO', backbone=dict(type='torch.hub.load')),
    dict(type='ToyAlgorithm', more=[dict(type='mmdet.datasets.base_det_dataset.BaseDetDataset', ann_file='x.pkl')])])
def test_a_replay_builds_nothing_but_networks_of_ours(train, tmp_path, planted_model):
    with pytest.raises(InputError, match='not finite'):
        train(**{'train_dataloader.dataset.bad': 5})
    file, = (tmp_path / 'run').glob('replay_*.pth')
    edit(file, lambda content: content.update(config=json.dumps(dict(json.loads(content['config']), model=planted_model))))
    with pytest.raises(InputError, match='and nothing but networks of ours and layers is built'):
        replay(file)


def test_a_replay_imports_no_scope(train, tmp_path, monkeypatch):
    with pytest.raises(InputError, match='not finite'):
        train(**{'train_dataloader.dataset.bad': 5})
    (tmp_path / 'planted_package').mkdir()
    (tmp_path / 'planted_package/__init__.py').write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    file, = (tmp_path / 'run').glob('replay_*.pth')
    edit(file, lambda content: content.update(config=json.dumps(dict(json.loads(content['config']), default_scope='planted_package'))))
    assert math.isnan(replay(file)['loss'])
    assert not (tmp_path / 'marker').exists()


def test_a_replay_of_an_older_version_is_read(train, tmp_path):
    with pytest.raises(InputError, match='not finite'):
        train(**{'train_dataloader.dataset.bad': 5})
    file, = (tmp_path / 'run').glob('replay_*.pth')
    edit(file, lambda saved: saved.update(config=toy_config(tmp_path).pretty_text))
    assert math.isnan(replay(file)['loss'])


# ---- configs as data


def test_a_config_with_what_json_has_not_resumes_exactly(train, tmp_path):
    changes = {'optim_wrapper.optimizer.betas': (0.8, 0.9), 'notes': {1: np.float32(0.5)}, 'log_level': 'INFO',
               'visualizer': dict(type='Visualizer', vis_backends=())}
    whole = train(name='whole', **changes)
    with pytest.raises(Killed):
        train(**changes, **killed_after(9))
    stored = read_config(torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['meta']['cfg'])
    assert stored['optim_wrapper']['optimizer']['betas'] == [0.8, 0.9] and stored['notes'] == {'1': 0.5}
    resumed = train(**changes, resume=True)
    assert history(resumed) == history(whole)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_other_objects_leave_their_repr_without_an_address():
    texts = {config_to_json(Config(dict(thing=dict(value=object()), maker=len, array=np.arange(2)))) for _ in range(2)}
    assert [json.loads(text) for text in texts] == [
        dict(thing=dict(value={'__repr__': '<object object>'}), maker='builtins.len', array=[0, 1])]


def test_checkpoints_of_older_versions_resume(train, tmp_path):
    """The config as the text of a program, the numbers of the checkpoints to keep, no processes and no images."""
    keep = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)}
    whole = train(name='whole', **keep)
    train(**keep)
    file = tmp_path / 'run/epoch_2.pth'

    def age(checkpoint):
        text = toy_config(tmp_path / 'run', **keep).pretty_text
        checkpoint['meta']['cfg'] = text
        del checkpoint['meta']['images'], checkpoint['meta']['world_size']
        hub = checkpoint['message_hub']
        hub['runtime_info'] = {key: value for key, value in hub['runtime_info'].items() if not key.endswith('_ckpts')} | dict(
            cfg=text, keep_ckpt_ids=[1, 2])
        hub['resumed_keys'].update(cfg=True, keep_ckpt_ids=True)
    edit(file, age)
    (tmp_path / 'run/epoch_1.pth').touch()
    with pytest.raises(InputError, match='cannot change model.dropout None -> 0.1'):
        train(**keep, resume=True, load_from=str(file), **{'model.dropout': 0.1})
    resumed = train(**keep, resume=True, load_from=str(file))
    assert 'the config of this run is that of the checkpoint' in log_of(resumed)
    assert history(resumed) == history(whole)
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['epoch_2.pth', 'epoch_3.pth']
    assert not {'cfg', 'keep_ckpt_ids'} & {*resumed.message_hub.runtime_info, *resumed.message_hub.state_dict()['resumed_keys']}


def test_the_config_is_formatted_once_and_not_while_a_checkpoint_is_written(train, monkeypatch):
    from yapf.yapflib import yapf_api
    original, calls = yapf_api.FormatCode, []

    def once(text, *args, **kwargs):
        calls.append(text)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(text, *args, **kwargs)
    monkeypatch.setattr(yapf_api, 'FormatCode', once)
    assert train().iter == 18 and len(calls) == 1


def test_an_interruption_while_the_config_is_formatted_is_one(train, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', interrupt)
    with pytest.raises(KeyboardInterrupt):
        train()


# ---- what a resumed run may change


def rates(runner) -> list[list[float]]:
    return history(runner, 'lr')


@pytest.mark.parametrize('killed', [9, 14])
@pytest.mark.parametrize('scaled', [False, True])
def test_another_learning_rate_goes_on_as_if_it_had_always_been(train, killed, scaled):
    """From the checkpoint on, every rate and weight decay is that of a run that began with it."""
    def run(name, lr, weight_decay, **more):
        return train(name, param_scheduler=SCHEDULES, auto_scale_lr=dict(enable=scaled, base_batch_size=64), **more, **{
            'optim_wrapper.optimizer.lr': lr, 'optim_wrapper.optimizer.weight_decay': weight_decay})
    other = run('other', BASE / 10, 0.02)
    with pytest.raises(Killed):
        run('run', BASE, 0.04, **killed_after(killed))
    resumed = run('run', BASE / 10, 0.02, resume=True)
    done = killed // 6 * 6
    assert rates(resumed)[done:] == rates(other)[done:]
    assert rates(resumed)[done - 1] > 1.5 * rates(other)[done - 1]
    decay = [[group['weight_decay'] for group in runner.optim_wrapper.param_groups] for runner in (resumed, other)]
    assert decay[0] == decay[1]
    factor = 4 / 64 if scaled else 1
    # the last iteration before the end of the third epoch; the steps halve the rate after the second
    expected = [1e-4 + (BASE / 10 * factor - 1e-4) * (1 + math.cos(math.pi * (i - 6) / 12)) / 2 for i in range(6, 12)]
    if done == 6:
        assert rates(resumed)[6:12] == pytest.approx(expected)
    said = next(line for line in log_of(resumed).splitlines() if 'Resumed epoch' in line)
    assert 'optim_wrapper.optimizer.lr 0.01 -> 0.001' in said and f'learning rate {BASE * factor:.3g} -> {BASE / 10 * factor:.3g}' in said
    assert 'weight_decay 0.04 -> 0.02' in said


def test_the_changed_rate_is_kept_by_the_next_resumption(train):
    def run(name, lr, **more):
        return train(name, param_scheduler=SCHEDULES, **more, **{'optim_wrapper.optimizer.lr': lr})
    for name in 'ab':
        with pytest.raises(Killed):
            run(name, BASE, **killed_after(7))
    once = run('a', BASE / 2, resume=True)
    with pytest.raises(Killed):
        run('b', BASE / 2, resume=True, **killed_after(15))
    twice = run('b', BASE / 2, resume=True)
    assert history(once) == history(twice) and rates(once) == rates(twice)
    assert 'optimizer.lr' not in [line for line in log_of(twice).splitlines() if 'Resumed epoch' in line][-1]


def test_a_constant_rate_and_clipping_change_too(train):
    with pytest.raises(Killed):
        train(**killed_after(7))
    resumed = train(resume=True, **{'optim_wrapper.optimizer.lr': 0.005, 'optim_wrapper.clip_per_tensor': 1.,
                                    'default_hooks.checkpoint': dict(type='CheckpointHook', interval=2)})
    assert rates(resumed) == [0.01] * 6 + [0.005] * 12
    assert resumed.optim_wrapper.clip_per_tensor == 1.
    assert 'default_hooks.checkpoint None -> {' in log_of(resumed)


@pytest.mark.parametrize('name, value', [
    ('model.dropout', 0.1), ('train_dataloader.batch_size', 2), ('train_cfg.max_epochs', 4), ('optim_wrapper.optimizer.type', 'SGD'),
    ('optim_wrapper.optimizer.betas', (0.5, 0.9)), ('optim_wrapper.accumulative_counts', 2), ('randomness.seed', 1),
    ('param_scheduler', [dict(type='MultiStepLR', milestones=[1])]), ('train_dataloader.dataset.length', 18),
    ('train_dataloader.sampler.type', 'DefaultSampler'), ('optim_wrapper.paramwise_cfg', dict(decay_biases=True)),
    ('custom_hooks', [dict(type='AlgorithmHook'), dict(type='EMAHook')])])
def test_what_decides_what_is_trained_is_refused_by_name(train, name, value):
    train(**{'train_cfg.max_epochs': 3})
    named = dict(custom_hooks='EMAHook').get(name, name)
    with pytest.raises(InputError, match=rf'a resumed run cannot change .*{named}.* (->|\(others)'):
        train(resume=True, **{name: value})


def test_moved_data_are_the_same_and_others_are_not(train, tmp_path):
    def run(folder, **more):
        return train(**{'train_cfg.max_epochs': 2, 'train_dataloader.dataset': dict(
            _delete_=True, type='ImageFolder', data_root=str(tmp_path / folder / 'train'), views=dict(
                global_=dict(type='CropViews', size=4, scale=(0.5, 1.), num=2))), 'model': dict(
            _delete_=True, type='DINO', backbone=dict(
                type='VisionTransformer', arch=dict(embed_dim=8, depth=1, num_heads=2), patch_size=2, img_size=4),
            head=dict(num_prototypes=4, hidden_dim=8, bottleneck_dim=4)), 'train_dataloader.collate_fn.type': 'mmdssl.collate_views',
            'train_dataloader.batch_size': 8, **more})
    colour_folders(tmp_path / 'here')
    run('here')
    (tmp_path / 'here').rename(tmp_path / 'there')
    file = str(tmp_path / 'run/epoch_1.pth')
    assert 'data_root' in log_of(run('there', resume=True, load_from=file))
    (tmp_path / 'there/train/red/0.png').rename(tmp_path / 'there/train/red/9.png')
    with pytest.raises(InputError, match='the training images'):
        run('there', resume=True, load_from=file)


def test_what_is_no_run_is_not_resumed(train, tmp_path):
    train(**knn_config(colour_folders(tmp_path / 'data')), **{
        'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, save_best='knn3_top1', rule='greater')})
    best, = (tmp_path / 'run').glob('best_*.pth')
    empty = dict(meta=None, message_hub={}, optimizer={}, state_dict={})
    for content in (torch.load(best, weights_only=False), [], 7, dict(state_dict={}), empty):
        torch.save(content, tmp_path / 'x.pth')
        with pytest.raises(InputError, match='x.pth (is no checkpoint of a run|cannot be continued from|holds an? )'):
            train(resume=True, load_from=str(tmp_path / 'x.pth'))


# ---- evaluations


@HOOKS.register_module()
class KillAtHook(Hook):
    """Ends the run at the n-th call of one of its moments."""
    priority = 'LOW'

    def __init__(self, moment: str, n: int):
        self.left = n
        setattr(self, moment, self._count)

    def _count(self, *args, **kwargs):
        self.left -= 1
        if not self.left:
            raise Killed


EVALUATED: list[tuple[int, int]] = []


@HOOKS.register_module()
class NoteHook(Hook):

    def after_val_epoch(self, runner, metrics=None):
        EVALUATED.append((runner.epoch, runner.iter))


def evaluated(train, **changes) -> list[tuple[int, int]]:
    EVALUATED.clear()
    hooks = [dict(type='AlgorithmHook'), dict(type='NoteHook'), *changes.pop('hooks', [])]
    train(**changes, custom_hooks=hooks)
    return list(EVALUATED)


def by_iteration() -> dict:
    return {'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=10, val_interval=4),
            'train_dataloader.sampler': dict(_delete_=True, type='InfiniteSampler'),
            'train_dataloader.dataset': dict(_delete_=True, type='ToyTriples'),
            'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2),
            'log_processor.by_epoch': False}


@pytest.fixture(scope='module', autouse=True)
def triples():
    """The toy data for a sampler that gives plain indices."""
    from toy import ToyDataset

    from mmdssl.registry import DATASETS

    class ToyTriples(ToyDataset):

        def __getitem__(self, index):
            return super().__getitem__((0, 0, index))
    DATASETS.register_module(module=ToyTriples, force=True)


@pytest.mark.parametrize('n, left', [(1, [(1, 6), (2, 12), (3, 18)]), (2, [(2, 12), (3, 18)]), (3, [(3, 18)])])
@pytest.mark.parametrize('moment', ['before_val', 'after_val_epoch'])
def test_an_evaluation_that_was_due_comes_first(train, tmp_path, moment, n, left):
    data = knn_config(colour_folders(tmp_path / 'data'))
    with pytest.raises(Killed):
        train(**data, custom_hooks=[dict(type='AlgorithmHook'), dict(type='KillAtHook', moment=moment, n=n)])
    assert evaluated(train, **data, resume=True) == left


@pytest.mark.parametrize('n, left', [(1, [(0, 4), (0, 8), (0, 10)]), (2, [(0, 8), (0, 10)]), (3, [(0, 10)])])
def test_so_it_does_in_runs_by_iteration(train, tmp_path, n, left):
    data = knn_config(colour_folders(tmp_path / 'data'))
    with pytest.raises(Killed):
        train(**data, **by_iteration(), custom_hooks=[dict(type='AlgorithmHook'), dict(type='KillAtHook', moment='before_val', n=n)])
    assert evaluated(train, **data, **by_iteration(), resume=True) == left


def test_no_evaluation_comes_first_where_none_was_due_or_the_checkpoint_has_seen_it(train, tmp_path):
    data = knn_config(colour_folders(tmp_path / 'data'))
    every_4 = dict(type='CheckpointHook', by_epoch=False, interval=4)
    with pytest.raises(Killed):
        train('a', **data, **killed_after(10), **{'default_hooks.checkpoint': every_4})
    assert evaluated(train, name='a', **data, resume=True, **{'default_hooks.checkpoint': every_4}) == [(2, 12), (3, 18)]
    best = dict(type='CheckpointHook', interval=1, save_best='knn3_top1', rule='greater')
    with pytest.raises(Killed):
        train('b', **data, **killed_after(8), **{'default_hooks.checkpoint': best})
    assert evaluated(train, name='b', **data, resume=True, **{'default_hooks.checkpoint': best}) == [(2, 12), (3, 18)]


# ---- what is left on the disk


def test_checkpoints_that_a_kill_left_behind_go_and_others_stay(train, tmp_path, monkeypatch):
    keep = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)}
    folder, original = tmp_path / 'run', CheckpointHook._remove_outdated

    def die(self, *new):
        if new:  # a checkpoint has just been written
            raise Killed
        original(self)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointHook, '_remove_outdated', die)
        for resume in (False, True):
            with pytest.raises(Killed):
                train(**keep, resume=resume)
    assert {path.name for path in folder.glob('*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}
    others = ['epoch_2_backup.pth', 'best_of_all.pth', 'epoch_40.pth', 'iter_7.pth', 'mine.partial', '.notes.partial']
    left = ['.epoch_1.pth.partial', '.epoch_17.pth.partial', '.last_checkpoint.partial', '.backbone.safetensors.partial',
            '.best_knn_epoch_1.pth.partial', '.interrupted.pth.partial']
    for name in [*others, *left]:
        (folder / name).write_text(name)
    train(**keep, resume=True)
    assert {path.name for path in folder.iterdir() if path.is_file() and path.suffix != '.py'} == {
        'epoch_3.pth', 'last_checkpoint', '.lock', *others}


def test_a_checkpoint_cannot_have_other_files_deleted(train, tmp_path):
    train(**{'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1), 'train_cfg.max_epochs': 3})
    (tmp_path / 'precious.pth').write_text('mine')
    (tmp_path / 'run/notes.txt').write_text('mine')
    outside = ['../precious.pth', str(tmp_path / 'precious.pth'), 'notes.txt', '../run/notes.txt', 7, None]
    for names in (outside, 7, 'notes.txt', {'a': 1}):
        edit(tmp_path / 'run/epoch_2.pth', lambda content, names=names: content['message_hub']['runtime_info'].update(
            outdated_ckpts=names, kept_ckpts=names, best_ckpt=str(tmp_path / 'precious.pth'), last_ckpt='../precious.pth'))
        train(resume=True, load_from=str(tmp_path / 'run/epoch_2.pth'),
              **{'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)})
        assert (tmp_path / 'precious.pth').exists() and (tmp_path / 'run/notes.txt').exists()
        train(**{'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1), 'train_cfg.max_epochs': 3})


def test_a_loop_that_cannot_go_on_in_an_epoch_begins_it_again(train):
    loop = {'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3),
            'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=4)}
    with pytest.raises(Killed):
        train(**loop, **killed_after(9))
    resumed = train(resume=True, **loop)
    assert (resumed.iter, resumed.epoch) == (18, 3)
    assert 'The first 2 iterations of the epoch are repeated: EpochBasedTrainLoop' in log_of(resumed)


def test_a_copied_run_leaves_the_files_of_the_original_alone(train, tmp_path):
    data = knn_config(colour_folders(tmp_path / 'data'))
    best = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, save_best='knn3_top1', rule='less', max_keep_ckpts=1)}
    with pytest.raises(Killed):
        train('one', **data, **best, **killed_after(8))
    shutil.copytree(tmp_path / 'one', tmp_path / 'two')
    before = {path.name for path in (tmp_path / 'one').glob('*.pth')}
    assert any(name.startswith('best_') for name in before)
    edit(tmp_path / 'two/epoch_1.pth', lambda checkpoint: checkpoint['message_hub']['runtime_info'].update(best_score=1e9))
    train('two', **data, **best, resume=True, load_from=str(tmp_path / 'two/epoch_1.pth'))
    assert {path.name for path in (tmp_path / 'one').glob('*.pth')} == before
    assert {path.name.rpartition('epoch_')[2] for path in (tmp_path / 'two').glob('*.pth')} == {'2.pth', '3.pth'}
