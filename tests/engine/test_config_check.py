from __future__ import annotations

from contextlib import nullcontext

import pytest
from mmengine.config import Config
from toy import colour_folders, knn_config, toy_config

from mmdssl.engine.config_check import check_config, check_options, explain_refusals
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS, MODELS


def check(cfg: Config, **changes) -> None:
    cfg.merge_from_dict(changes)
    check_config(cfg)


def test_the_toy_is_fine(tmp_path):
    check(toy_config(tmp_path))


@pytest.mark.parametrize('change, message', [
    ({'train_datloader': dict()}, "key 'train_datloader' is read by nothing: did you mean 'train_dataloader'"),
    ({'my_number': 3}, "key 'my_number' is read by nothing"),
    ({'model.droput': 0.1}, "key 'model.droput' is read by nothing: did you mean 'dropout'"),
    ({'model.nonsense': 0.1}, r'nothing: remove or correct it \(known are .*dropout'),
    ({'train_dataloader.batchsize': 1}, "did you mean 'batch_size'"),
    ({'train_dataloader.dataset.lenght': 1}, "did you mean 'length'"),
    ({'train_cfg.max_epoch': 3}, "did you mean 'max_epochs'"),
    ({'optim_wrapper.clip_per_tensors': 3}, "did you mean 'clip_per_tensor'"),
    ({'optim_wrapper.optimizer.weight_decy': 3}, "did you mean 'weight_decay'"),
    ({'param_scheduler': [dict(type='CosineAnnealingLR', eta_mn=0.)]}, "'param_scheduler.0.eta_mn' .* mean 'eta_min'"),
    ({'custom_hooks': [dict(type='CollapseHook', intervall=3)]}, "did you mean 'interval'"),
    ({'log_processor.window_sise': 3}, "did you mean 'window_size'"),
    ({'runner_type': 'Runer'}, "unknown runner_type 'Runer': did you mean 'Runner'"),
    ({'randomness.sed': 3}, "did you mean 'seed'"),
    ({'auto_scale_lr': dict(enabled=True)}, "did you mean 'enable'"),
    ({'model.type': 'ToyAlgoritm'}, "model has the unknown type 'ToyAlgoritm': did you mean 'ToyAlgorithm'"),
    ({'custom_hooks': [dict(type='mmdssl.ColapseHook')]}, "did you mean 'CollapseHook'"),
    ({'param_scheduler': [dict(type='CosineAnnealingLR', eta_min=0., begin=500)]}, 'begins at epoch 500 .* shorten the warm-up'),
    ({'model': {'class': 3}}, "'model.class' is a keyword of Python's, .* call it 'class_'"),
    ({'train_dataloader.dataset': dict(_delete_=True, type='ImageFolder', data_root='no/such', views={})},
     "train_dataloader.dataset.data_root 'no/such' does not exist: .* --data PATH"),
    ({'train_dataloader.dataset': dict(_delete_=True, type='ImageFolder', data_root='.', views={}),
      'train_dataloader.sampler': dict(_delete_=True, type='DefaultSampler')}, 'same views: make it .*EpochSampler'),
    ({'train_dataloader.dataset': dict(_delete_=True, type='ImageFolder', data_root='.', views=dict(
        global_=dict(size=8, scale=(.5, 1.), box_alpha=.6))), 'train_dataloader.sampler': dict(_delete_=True, type='EpochSampler')},
     'views.global_ has box_alpha=0.6, but nothing finds boxes: add .*ContrastiveCropHook'),
    ({'train_dataloader.dataset': dict(_delete_=True, type='ImageList', ann_file='no.txt', views={})},
     "train_dataloader.dataset.ann_file 'no.txt' does not exist"),
])
def test_mistakes_are_named_with_a_remedy(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        check(toy_config(tmp_path), **change)


@pytest.mark.parametrize('best, computed', [
    ('knn3_top1', True), (['knn1_top1', 'knn5_top5'], True), ('auto', True), (None, True),
    ('knn20_top1', False), ('knn3_top5', False), (['knn1_top1', 'knn5_top2'], False)])
def test_the_best_checkpoint_is_chosen_by_something_computed(tmp_path, best, computed):
    cfg = toy_config(tmp_path, **knn_config(colour_folders(tmp_path)), **{
        'val_evaluator.k': (1, 3, 5), 'default_hooks.checkpoint': dict(type='CheckpointHook', save_best=best)})
    if computed:
        check_config(cfg)
    else:
        with pytest.raises(InputError, match=r"save_best is 'knn\d+_top\d', .*val_evaluator does .* did you mean 'knn"):
            check_config(cfg)


@pytest.mark.parametrize('best, message', [
    ('knn3_top1', None), ('mIoU_clean', None),
    ('mIoU', "save_best is 'mIoU', .*known are accuracy_clean, .*mIoU_hbird"), ('knn7_top1', 'did you mean')])
def test_so_it_is_where_several_things_are_measured(tmp_path, best, message):
    cfg = toy_config(tmp_path, **knn_config(colour_folders(tmp_path)), **{
        'default_hooks.checkpoint': dict(type='CheckpointHook', save_best=best)})
    cfg.val_evaluator = [dict(cfg.val_evaluator, k=(1, 3)), dict(type='HummingbirdMetric')]
    with pytest.raises(InputError, match=message) if message else nullcontext():
        check_config(cfg)


@pytest.mark.parametrize('change', [
    {'optim_wrapper.clip_grad': dict(type='norm', max_norm=1.)},
    {'env_cfg': dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))},
    {'visualizer': dict(type='Visualizer', vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict(project='x'))])},
    {'param_scheduler': [dict(type='LinearLR', start_factor=0.1, by_epoch=True, convert_to_iter_based=True),
                         dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10)]},
    {'default_hooks.sampler_seed': None, 'custom_hooks': [dict(type='EMAHook', momentum=1e-3, priority='LOW')]},
    {'data_root': 'anywhere', 'compile': True, 'find_unused_parameters': True},
])
def test_what_mmengine_reads_is_fine(tmp_path, change):
    check(toy_config(tmp_path), **change)


def test_variables_of_other_packages_are_theirs_but_slips_are_not():
    check_config(Config(dict(default_scope='mmengine', norm_cfg=dict(type='BN', requires_grad=True), crop_size=3)))
    with pytest.raises(InputError, match="did you mean 'optim_wrapper'"):
        check_config(Config(dict(default_scope='mmengine', optim_wraper=dict())))


def test_options_must_be_in_the_config_or_be_read(tmp_path):
    cfg = toy_config(tmp_path, custom_hooks=[dict(type='CollapseHook')])
    check_options(cfg, {'optim_wrapper.optimizer.lr': 1, 'optim_wrapper.accumulative_counts': 2, 'load_from': 'x',
                        'randomness.deterministic': True, 'custom_hooks.0.stop': True,
                        'train_dataloader.num_workers': 1})
    for option, message in {
            'optim_wrapper.optimizer.rl': r"no 'optim_wrapper.optimizer.rl'",
            'optim_wraper.optimizer.lr': "no 'optim_wraper': did you mean 'optim_wrapper'",
            'custom_hooks.1.stop': "no 'custom_hooks.1'",
            'train_cfg.max_epoch': "did you mean 'max_epochs'",
            'train_cfg.max_epochs.more': "no 'train_cfg.max_epochs.more'"}.items():
        with pytest.raises(InputError, match=message):
            check_options(cfg, {option: 1})


@pytest.mark.parametrize('key, value, message', [
    ('optim_wrapper.optimizer.lr', 'fast', "lr='fast': give a number of at least 0"),
    ('optim_wrapper.optimizer.lr', -1, 'lr=-1'),
    ('optim_wrapper.optimizer.lr', float('nan'), 'lr=nan'),
    ('optim_wrapper.optimizer.lr', None, 'lr=None'),
    ('optim_wrapper.optimizer.betas', [0.9], r'betas=\[0.9\]: give \(a number from 0 to 1, a number from 0 to 1\)'),
    ('optim_wrapper.optimizer.type', 3, 'type=3: give the name of a class'),
    ('optim_wrapper.clip_grad', dict(max_norm=-1), r'optim_wrapper.clip_grad.max_norm=-1: give a number above 0'),
    ('optim_wrapper.accumulative_counts', 0, 'accumulative_counts=0'),
    ('train_dataloader.batch_size', 0, 'batch_size=0'),
    ('train_dataloader.batch_size', 10**12, 'batch_size=1000000000000: give a whole number from 1 to'),
    ('train_dataloader.batch_size', 'abc', "batch_size='abc'"),
    ('train_dataloader.num_workers', -1, 'num_workers=-1'),
    ('train_cfg.max_epochs', 0, 'train_cfg.max_epochs=0: give a whole number of at least 1'),
    ('train_cfg.max_epochs', 2.5, 'max_epochs=2.5'),
    ('train_cfg.max_epochs', 'ten', "max_epochs='ten'"),
    ('train_cfg.val_interval', 0, 'val_interval=0'),
    ('randomness.seed', -1, 'randomness.seed=-1'),
    ('compile', 'yes', "compile='yes': give True or False or a dict"),
    ('default_hooks.logger.interval', 0, 'logger.interval=0'),
    ('custom_hooks', [1], r'custom_hooks=\[1\]: give a list of dicts or None'),
    ('model', 'DINO', "model='DINO': give a dict"),
])
def test_values_that_others_read_are_checked_in_the_config(tmp_path, key, value, message):
    with pytest.raises(InputError, match=message):
        check(toy_config(tmp_path), **{key: value})


@HOOKS.register_module()
class BrokenHook:
    """Whose constructor has a bug."""

    def __init__(self):
        ''.join([1])


@pytest.mark.parametrize('hook, error, message', [
    (dict(type='mmengine.EMAHook', begin_iter=-1),
     InputError, r'custom_hooks.0 \(mmengine.EMAHook\) refuses its arguments begin_iter=-1 \(AssertionError: .begin_iter. must'),
    (dict(type='mmengine.NothingHook'), InputError, 'NothingHook.* refuses its arguments .*is not in the'),
    (dict(interval=1), InputError, 'must contain the key .type.'),
    (dict(type='BrokenHook'), TypeError, 'sequence item 0'),
])
def test_only_what_others_refuse_becomes_a_sentence(tmp_path, hook, error, message):
    cfg = toy_config(tmp_path, custom_hooks=[hook])
    with pytest.raises(error, match=message), explain_refusals(cfg):
        HOOKS.build(cfg.custom_hooks[0])


def test_memory_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match='more memory than there is'), explain_refusals(toy_config(tmp_path)):
        MODELS.build(dict(type='mmdssl.DINOHead', in_dim=8, num_prototypes=10**15))


def test_options_of_classes_that_take_more_than_they_name_are_those_of_their_bases(tmp_path):
    cfg = toy_config(tmp_path, **{'default_hooks.checkpoint': dict(type='CheckpointHook')})
    cfg.neck = dict(type='mmdet.FPN', in_channels=[4])
    check_options(cfg, {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 1000, 'neck.num_outs': 5})
    for option, meant in {'default_hooks.checkpoint.intervall': 'interval', 'neck.num_out': 'num_outs'}.items():
        with pytest.raises(InputError, match=f'was not applied because the config has no .*{meant}'):
            check_options(cfg, {option: 1})
