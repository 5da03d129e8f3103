from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from toy import Killed, ToyAlgorithm, colour_folders, history, knn_config

from mmdssl.datasets import LabelledFolder
from mmdssl.engine.loops import ProtocolLoop, step_seed
from mmdssl.engine.replay import replay
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor, Features, extract

EVERY_4_ITERATIONS = {
    'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=4, max_keep_ckpts=1)}


def killed_after(iterations: int) -> dict:
    return {'custom_hooks': [dict(type='AlgorithmHook'), dict(type='KillHook', after=iterations)]}


@pytest.mark.parametrize('killed, resumed_at', [(6, 4), (11, 8), (12, 12), (17, 16)])
@pytest.mark.parametrize('workers', [0, 1])
def test_a_killed_run_resumes_to_the_same_losses(train, killed, resumed_at, workers):
    changes = {**EVERY_4_ITERATIONS, 'train_dataloader.num_workers': workers,
               'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True),
                                   dict(type='MultiStepLR', milestones=[1, 2])]}
    whole = train(**changes, name='whole')
    with pytest.raises(Killed):
        train(**changes, **killed_after(killed))
    resumed = train(**changes, resume=True)
    assert history(resumed) == history(whole)
    assert len(history(resumed)) == 18
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.model.steps_taken == 18 - resumed_at


def test_a_checkpoint_between_two_log_lines_has_the_losses_before_it(train):
    changes = {'default_hooks.logger.interval': 4,
               'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=9)}
    with pytest.raises(Killed):
        train(**changes, **killed_after(10))
    resumed = train(**changes, resume=True)
    assert history(resumed) == history(train(name='whole', **changes))


def test_resume_in_another_shape_of_run_is_refused(train, monkeypatch):
    train(**{'train_cfg.max_epochs': 1})
    with pytest.raises(InputError, match='cannot change train_cfg.max_epochs 1 -> 3'):
        train(resume=True)
    monkeypatch.setattr('mmdssl.engine.resume.read_config', lambda text: None)  # as if the checkpoint had none
    with pytest.raises(InputError, match='1 epochs and 6 iterations, but this one has 3 and 18'):
        train(resume=True)


def test_step_seeds_differ_between_iterations_ranks_and_runs():
    keys = [(seed, iteration, rank) for seed in range(3) for iteration in range(50) for rank in range(4)]
    assert len({step_seed(*key) for key in keys}) == len(keys)
    assert step_seed(0, 7, 1) == step_seed(0, 7, 1) < 2**64


@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_can_be_replayed(train, tmp_path, monkeypatch, amp):
    seen = []
    original = ToyAlgorithm.loss

    def loss(self, views):
        seen.append({name: value.clone() for name, value in self.state_dict().items()})
        seen[-1]['loss'] = original(self, views)
        return seen[-1]['loss']
    monkeypatch.setattr(ToyAlgorithm, 'loss', loss)
    with pytest.raises(InputError, match='not finite in iteration'):
        train(**{'train_dataloader.dataset.bad': 5, 'optim_wrapper.amp': amp})
    file, = (tmp_path / 'run').glob('replay_iter_*_rank0.pth')
    before = seen[-1]
    saved = torch.load(file, weights_only=True)
    assert all(torch.equal(value, before[name]) for name, value in saved['state_dict'].items())

    assert math.isnan(replay(file)['loss'])
    torch.save({**saved, 'data_batch': saved['data_batch'].nan_to_num()}, file)
    assert math.isfinite(replay(file)['loss'])


def test_replay_repeats_dropout(train, tmp_path, monkeypatch):
    """A finite loss declared bad: the replay gives the very same number."""
    monkeypatch.setattr('mmdssl.engine.optim_wrapper.math.isfinite', lambda value: False)
    losses = []
    original = ToyAlgorithm.parse_losses
    monkeypatch.setattr(ToyAlgorithm, 'parse_losses',
                        lambda self, values: losses.append(values['loss_cls'].item()) or original(self, values))
    with pytest.raises(InputError):
        train()
    assert replay(tmp_path / 'run/replay_iter_0_rank0.pth')['loss_cls'] == losses[0]


def test_replay_refuses_other_files(tmp_path):
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'epoch_1.pth')
    with pytest.raises(InputError, match=r'epoch_1\.pth is no replay file, for it has no config'):
        replay(tmp_path / 'epoch_1.pth')


def test_knn_while_training_is_logged_and_the_best_is_kept(train, tmp_path):
    best = dict(type='CheckpointHook', save_best='knn3_top1', rule='greater', max_keep_ckpts=1)
    runner = train(**knn_config(colour_folders(tmp_path / 'data')), **{
        'train_cfg.val_before_train': True, 'train_cfg.val_interval': 2, 'default_hooks.checkpoint': best})
    values = runner.message_hub.get_scalar('val/knn3_top1').data[0]
    assert len(values) == 3  # before training, after epochs 2 and 3
    assert 100 / 3 < values[-1] <= 100
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        lines = [line for line in file if 'knn1_top1' in line]
    assert [line.split('Epoch(val) ')[1][:3] for line in lines] == ['[0]', '[2]', '[3]']
    assert len(list((tmp_path / 'run').glob('best_knn3_top1_epoch_*.pth'))) == 1
    assert history(runner) == history(train(name='without'))  # looking does not change what is seen


def test_several_protocols_validate_a_run(train, tmp_path):
    runner = train(**{**knn_config(colour_folders(tmp_path / 'data')), 'train_cfg.val_interval': 3, 'val_evaluator': [
        dict(type='KNNMetric', k=1), dict(type='LinearMetric', epochs=2, extractor=dict()), dict(type='ClusteringMetric', draws=1)]})
    for name in ('knn1_top1', 'linear_top1', 'nmi3'):
        assert len(runner.message_hub.get_scalar(f'val/{name}').data[0]) == 1
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        line, = [line for line in file if 'Epoch(val) [3]' in line]
    assert 'knn1_top1' in line and 'linear_top1' in line and 'nmi3' in line


def features_of(runner) -> Features:
    model = runner.model.eval()
    return extract(model.backbone, runner.val_dataloader, Extractor(), model.data_preprocessor.normalise)


def test_features_come_in_the_order_of_the_dataset_without_damaged_files(train, tmp_path):
    runner = train(**knn_config(colour_folders(tmp_path / 'data')), **{'train_cfg.val_interval': 9})
    features = features_of(runner)
    dataset = LabelledFolder(str(tmp_path / 'data/val'), resize=4, size=4)
    items = [item for item in map(dataset.__getitem__, range(len(dataset))) if item['label'] >= 0]
    assert features.labels.tolist() == [item['label'] for item in items] == [0] * 4 + [1] * 4 + [2] * 4
    assert features.classes == ['blue', 'green', 'red']
    assert features.names == [f'{name}/{i}.png' for name in features.classes for i in range(4)]
    torch.testing.assert_close(features.values, torch.cat([runner.model.teacher.features(item['image'][None] / 255) for item in items]))


def test_damaged_files_are_reported_once(train, tmp_path):
    runner = train(**knn_config(colour_folders(tmp_path / 'data')))
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        bank, queries = [line for line in file if 'are left out, they cannot be decoded' in line]  # of three evaluations
    assert '1 of the 13 images of' in bank and 'data/train' in bank and 'blue/damaged.png' in bank
    assert 'data/val' in queries


def test_only_damaged_files_are_an_input_error(train, tmp_path):
    for file in colour_folders(tmp_path / 'data').glob('val/*/*.png'):
        file.write_bytes(b'none')
    with pytest.raises(InputError, match=r"none of the 13 images of '.*val' can be decoded \(blue/0.png, .* \.\.\.\)"):
        train(**knn_config(tmp_path / 'data'))


def test_images_that_two_processes_share_count_once(train, tmp_path, monkeypatch):
    runner = train(**knn_config(colour_folders(tmp_path / 'data')), **{'train_cfg.val_interval': 9})
    alone = features_of(runner)
    monkeypatch.setattr('mmdssl.protocols.features.all_reduce', lambda share: share.mul_(2))  # both have seen everything
    together = features_of(runner)
    assert torch.equal(together.values, alone.values) and torch.equal(together.labels, alone.labels)


def test_knn_on_different_classes_is_an_input_error(train, tmp_path):
    cfg = knn_config(colour_folders(tmp_path / 'data'))
    colour_folders(tmp_path / 'other', ('blue', 'green', 'yellow'))
    cfg['val_dataloader']['dataset']['data_root'] = str(tmp_path / 'other/val')
    with pytest.raises(InputError, match=r'differ \(the bank lacks yellow; the queries lack red\)'):
        train(**cfg)


def test_masks_count_through_classes_in_one_order():
    queries, bank = (SimpleNamespace(data_root=root, classes=classes, read_mask=None)
                     for root, classes in (('queries', ['sky', 'tree', 'car']), ('bank', ['sky', 'car', 'tree'])))
    with pytest.raises(InputError, match=r"are in another order \('tree' is 'car' in the bank\): give both the same list"):
        ProtocolLoop._check_classes(queries, bank)
    ProtocolLoop._check_classes(queries, queries)
