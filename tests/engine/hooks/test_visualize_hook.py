"""A run that draws pictures is the run that does not."""
from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from processes import run_ranks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import RUNS, colour_folders, history, knn_config

from mmdssl.engine import Runner
from mmdssl.engine.hooks import visualize_hook
from mmdssl.engine.hooks.visualize_hook import undisturbed
from mmdssl.registry import HOOKS

HOOK = dict(type='VisualizeHook', number=2, bank=4)
OF_PQCL = ['attention', 'boxes', 'crops', 'matches', 'neighbours', 'patches', 'pca']


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Draws from the global generators, as a user's hook may: they show what happened to them since."""
    priority = 'VERY_LOW'

    def after_val_epoch(self, runner, metrics=None):
        self._draw(runner)

    def after_train_epoch(self, runner):
        self._draw(runner)

    def _draw(self, runner):
        assert runner.val_loop is not None or runner.model.training
        for name, value in dict(torch=float(torch.rand(())), numpy=np.random.rand()).items():
            runner.message_hub.update_scalar(f'train/random_{name}', value)


@pytest.fixture
def train(tmp_path):
    """Function ``train(name, *hooks, **changes) -> Runner``: PQCL with drop path on 24 images of colours, in ``tmp_path / name``."""
    colour_folders(tmp_path / 'data', each=8)

    def run(name, *hooks, resume=False, validated=True, **changes):
        return train_pqcl(tmp_path, name, hooks, resume, validated, changes)
    return run


def train_pqcl(root: Path, name: str, hooks, resume: bool, validated: bool, changes: dict) -> Runner:
    crop = dict(scale=(0.3, 1.))
    views = dict(global_=dict(size=32, num=2, **crop), query=dict(size=16, num=1, **crop))
    backbone = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=32,
                    position='sincos', mask_token=True, drop_path_rate=0.3)
    cfg = Config(dict(
        default_scope='mmdssl',
        model=dict(type='PQCL', backbone=backbone, head=dict(num_prototypes=8, hidden_dim=8, bottleneck_dim=4), masked=False),
        train_dataloader=dict(batch_size=8, drop_last=True, sampler=dict(type='EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'),
                              dataset=dict(type='ImageFolder', data_root=str(root / 'data/train'), views=views)),
        train_cfg=dict(type='TrainLoop', max_epochs=3),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='AlgorithmHook'), *hooks, dict(type='RandomStateHook')],
        log_processor=dict(type='LogProcessor'), randomness=dict(seed=0), resume=resume,
        experiment_name=f'pictures{next(RUNS)}', work_dir=str(root / name)))
    if validated:
        knn = knn_config(root / 'data')
        for loader in (knn['val_dataloader'], knn['val_cfg']['bank']):
            loader['dataset'].update(resize=32, size=32)
        cfg.merge_from_dict(knn)
    cfg.merge_from_dict(changes)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob('pictures/*'))


def all_values(runner) -> dict[str, list[float]]:
    return {name: history(runner, name) for name in ('loss', 'loss_query', 'random_torch', 'random_numpy')}


@pytest.mark.parametrize('validated', [True, False])
def test_losses_and_random_states_are_those_of_a_run_without(train, tmp_path, validated):
    with_it = train('with', dict(HOOK, interval=1), validated=validated)
    without = train('without', validated=validated)
    assert all_values(with_it) == all_values(without) and len(history(with_it)) == 9
    for name, tensor in with_it.model.state_dict().items():
        assert torch.equal(tensor, without.model.state_dict()[name])
    assert names(tmp_path / 'with') == OF_PQCL and not names(tmp_path / 'without')
    assert sum(path.stat().st_size for path in tmp_path.glob('with/pictures/*')) < 2e6
    for path in tmp_path.glob('with/pictures/*'):
        picture = np.array(Image.open(path))
        assert picture.shape[1] <= 1200 and picture.std() > 1


def test_a_resumed_run_goes_on_as_if_it_had_drawn_nothing(train):
    whole = train('whole')
    train('resumed', HOOK)
    Path(whole.work_dir, '../resumed/epoch_3.pth').unlink()
    Path(whole.work_dir, '../resumed/last_checkpoint').unlink()
    resumed = train('resumed', HOOK, resume=True)
    assert history(whole)[6:] == history(resumed)[6:]


def test_tensorboard_has_the_pictures_of_each_validation(train, tmp_path):
    runner = train('run', dict(HOOK, what=['pca', 'boxes', 'reconstruction']),
                   visualizer=dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')]))
    runner.visualizer.close()
    events = EventAccumulator(str(next(tmp_path.glob('run/*/vis_data'))))
    events.Reload()
    assert events.Tags()['images'] == ['pca', 'boxes']
    assert [event.step for event in events.Images('pca')] == [3, 6, 9]
    assert len(events.Images('boxes')) == 1, 'it never changes'


def test_without_validation_the_last_epoch_is_drawn(train, tmp_path):
    train('run', dict(HOOK, what=['pca']), validated=False)
    assert names(tmp_path / 'run') == ['pca']


def test_what_fails_is_a_warning(train, tmp_path, monkeypatch):
    def broken(scene):
        raise RuntimeError('no ink')
    monkeypatch.setitem(visualize_hook.PICTURES, 'pca', broken)
    runner = train('run', dict(HOOK, what=['pca', 'attention']))
    assert len(history(runner)) == 9 and names(tmp_path / 'run') == ['attention']
    log = next(tmp_path.glob('run/*/*.log')).read_text()
    assert 'VisualizeHook cannot draw pca (RuntimeError: no ink): the run goes on without' in log


def test_a_folder_that_cannot_be_written_is_a_warning(train, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/pictures').write_text('a file')
    runner = train('run', dict(HOOK, what=['pca']))
    assert len(history(runner)) == 9
    assert 'VisualizeHook cannot draw the pictures (FileExistsError' in next(tmp_path.glob('run/*/*.log')).read_text()


def test_the_model_and_the_generators_are_as_before():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2).eval())
    torch.manual_seed(3)
    np.random.seed(3)
    wanted = torch.rand(2), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    with pytest.raises(RuntimeError), undisturbed(model):
        assert not any(module.training for module in model) and not torch.is_grad_enabled()
        torch.rand(5), np.random.rand()
        raise RuntimeError
    assert model.training and [module.training for module in model] == [True, False] and torch.is_grad_enabled()
    assert torch.equal(torch.rand(2), wanted[0]) and np.random.rand() == wanted[1]


def draw_as_rank(root: Path) -> None:
    """One of two processes, which notes that it draws."""
    def note(scene):
        torch.rand(3)
        Path(root, f'drawn.{torch.distributed.get_rank()}').touch()
        return Image.new('RGB', (4, 4))
    visualize_hook.PICTURES['pca'] = note
    train_pqcl(root, 'run', [dict(HOOK, what=['pca'])], False, True,
               {'launcher': 'pytorch', 'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 1})
    gc.collect()
    torch.distributed.destroy_process_group()


def test_of_several_processes_one_draws(tmp_path):
    colour_folders(tmp_path / 'data', each=8)
    run_ranks(draw_as_rank, 2, tmp_path)
    assert [path.name for path in tmp_path.glob('drawn.*')] == ['drawn.0']
