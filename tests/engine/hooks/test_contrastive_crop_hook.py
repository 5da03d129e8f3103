from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_ranks
from toy import Killed, history, train_as_rank

from mmdssl.datasets import ImageFolder, ViewsPreprocessor
from mmdssl.datasets.crop_boxes import WholeImages, boxes_of_heat_maps
from mmdssl.engine.hooks import ContrastiveCropHook
from mmdssl.engine.hooks.contrastive_crop_hook import update_epochs
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

DINO = dict(
    _delete_=True, type='DINO',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=32),
    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8))
BOXES = dict(warmup=1, interval=1, size=32, threshold=.6)
NOBODY_KNOWS = [[0., 0., 1., 1.]]


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    """Thirteen images with some structure, the fourth of them broken."""
    folder = tmp_path_factory.mktemp('images')
    for i in range(13):
        coarse = Image.fromarray(np.random.default_rng(i).integers(0, 256, (3, 4, 3), dtype=np.uint8))
        coarse.resize((40, 30), Image.Resampling.BICUBIC).save(folder / f'{i:02d}.png')
    (folder / '03.png').write_bytes(b'broken')
    return folder


def boxed(images: Path, hook: dict | None = BOXES, box_alpha: float | None = .6, after: int = 99, **dataset) -> dict:
    """Four epochs of three iterations, to be merged into the toy's config; ``after`` as of the KillHook."""
    views = dict(global_=dict(size=32, scale=(.25, 1.), num=2, box_alpha=box_alpha))
    return {
        'model': DINO,
        'train_cfg.max_epochs': 4,
        'train_dataloader': dict(
            _delete_=True, batch_size=4, drop_last=True, num_workers=0, persistent_workers=True,
            sampler=dict(type='EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'),
            dataset=dict(type='ImageFolder', data_root=str(images), views=views, **dataset)),
        'custom_hooks': [dict(type='AlgorithmHook'), dict(type='KillHook', after=after),
                         *([dict(type='ContrastiveCropHook', **hook)] if hook else [])]}


def boxes_in(checkpoint: Path) -> torch.Tensor:
    return torch.load(checkpoint, weights_only=False)['crop_boxes']['boxes']


def log_of(runner) -> str:
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


@pytest.mark.parametrize('warmup, interval, max_epochs, expected', [
    (40, 20, 100, [40, 60, 80]),  # never after the last epoch
    (40, 40, 300, [40, 80, 120, 160, 200, 240, 280]),
    (.2, .2, 10, [2, 4, 6, 8]),
    (.2, .2, 3, [1, 2]),
    (3, 2, 8, [3, 5, 7]),
    (.5, 1, 6, [3, 4, 5]),
    (4, 1, 4, []),
])
def test_epochs_after_which_boxes_are_found(warmup, interval, max_epochs, expected):
    assert list(update_epochs(warmup, interval, max_epochs)) == expected


def test_views_are_plain_until_the_first_boxes(train, images):
    plain = history(train('plain', **boxed(images, hook=None, box_alpha=None)))
    late = history(train('late', **boxed(images, {**BOXES, 'warmup': 2})))
    early = train('early', **boxed(images))
    assert len(plain) == 12
    assert late[:6] == plain[:6] and late[6] != plain[6]
    assert history(early)[:3] == plain[:3] and history(early)[3] != plain[3]
    assert log_of(early).count('Crop boxes of 13 images: ') == 3  # not after the last epoch


def test_boxes_are_where_the_teacher_looks(train, images, tmp_path):
    """Looked up image by image with the weights beside them in the checkpoint."""
    runner = train(**boxed(images))
    checkpoint = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=False)
    algorithm = MODELS.build({key: value for key, value in DINO.items() if key != '_delete_'}).eval()
    algorithm.load_state_dict(checkpoint['state_dict'])
    boxes = checkpoint['crop_boxes']['boxes']
    whole = WholeImages(ImageFolder(str(images), views=dict(global_=dict(size=8, scale=(.5, 1.)))), 32)
    for i, box in enumerate(boxes):
        if i == 3:
            assert box.tolist() == NOBODY_KNOWS[0]
            continue
        heat = algorithm.teacher.backbone.heat_map(ViewsPreprocessor().normalise(whole[i]['image'][None]))
        torch.testing.assert_close(box, boxes_of_heat_maps(heat, 32, .6)[0], rtol=0, atol=1.01 / 32)
    assert len(boxes.unique(dim=0)) > 4
    assert torch.equal(boxes_in(tmp_path / 'run/epoch_4.pth'), runner.train_dataloader.dataset.crop_boxes)


def test_looking_changes_nothing_else(train, images, monkeypatch):
    runner = train(**boxed(images, {**BOXES, 'warmup': 9}))
    assert 'nothing to do: its warm-up of 9 epochs' in log_of(runner)
    hook = next(hook for hook in runner.hooks if isinstance(hook, ContrastiveCropHook))
    hook.epochs = [runner.epoch + 1]
    backbone, seen = runner.model.backbone, []
    original = type(backbone).heat_map
    monkeypatch.setattr(type(backbone), 'heat_map', lambda self, images: seen.append(
        (self is backbone, runner.model.training, torch.is_grad_enabled())) or original(self, images))
    runner.model.train()

    def state():
        modes = [module.training for module in runner.model.modules()]
        return modes, torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    before = state()
    hook.after_train_epoch(runner)
    assert state() == before
    assert seen == [(True, False, False)] * 4
    assert runner.train_dataloader.dataset.crop_boxes.tolist() != NOBODY_KNOWS * 13


def test_number_of_workers_does_not_matter(train, images):
    runs = [train(f'{workers} workers', **{**boxed(images), 'train_dataloader.num_workers': workers})
            for workers in (0, 2)]
    assert history(runs[0]) == history(runs[1])
    assert torch.equal(*(run.train_dataloader.dataset.crop_boxes for run in runs))


@pytest.mark.parametrize('interval, killed, workers', [
    (4, 11, 1),  # resumed in the middle of the third epoch, whose boxes are those after the second
    (3, 7, 0),  # the checkpoint was written before the boxes after its epoch were found
])
def test_a_killed_run_resumes_with_its_boxes(train, images, interval, killed, workers):
    def changes(**kwargs):
        return {**boxed(images, **kwargs), 'train_dataloader.num_workers': workers,
                'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=interval)}
    whole = train('whole', **changes())
    with pytest.raises(Killed):
        train(**changes(after=killed))
    resumed = train(resume=True, **changes())
    assert history(resumed) == history(whole)
    assert torch.equal(*(run.train_dataloader.dataset.crop_boxes for run in (whole, resumed)))


def test_weights_alone_do_not_bring_their_boxes(train, images, tmp_path):
    train(**boxed(images))
    other = train('other', load_from=str(tmp_path / 'run/epoch_3.pth'), **boxed(images, {**BOXES, 'warmup': 4}))
    assert boxes_in(tmp_path / 'run/epoch_3.pth').tolist() != NOBODY_KNOWS * 13
    assert other.train_dataloader.dataset.crop_boxes.tolist() == NOBODY_KNOWS * 13


def without(path: Path, *keys: str) -> dict:
    """To resume from a checkpoint that does not say what it was trained on, and holds nothing under ``keys``."""
    checkpoint = torch.load(path, weights_only=False)
    for key in keys:
        del checkpoint[key]
    for key in ('cfg', 'images'):
        del checkpoint['meta'][key]
    torch.save(checkpoint, path)
    return dict(resume=True, load_from=str(path))


def test_boxes_of_other_data_are_refused(train, images, tmp_path):
    train(**boxed(images))
    old = without(tmp_path / 'run/epoch_2.pth')
    with pytest.raises(InputError, match='crop boxes of 13 images, which are not the 12 of the training data'):
        train(**old, **boxed(images, indices=12))
    shutil.copytree(images, tmp_path / 'others')
    (tmp_path / 'others/00.png').rename(tmp_path / 'others/99.png')
    with pytest.raises(InputError, match='crop boxes of 13 images, which are not the 13 of the training data'):
        train(**old, **boxed(tmp_path / 'others'))


def test_a_checkpoint_without_boxes_is_said_to_have_none(train, images, tmp_path):
    train(**boxed(images))
    resumed = train(**without(tmp_path / 'run/epoch_2.pth', 'crop_boxes'), **boxed(images))
    assert 'The checkpoint has no crop boxes' in log_of(resumed)


def test_two_processes_find_the_boxes_of_one(train, images, tmp_path):
    def changes(batch_size):
        return {**boxed(images), 'optim_wrapper.optimizer.lr': 0., 'train_dataloader.batch_size': batch_size}
    train('one', **changes(4))
    run_ranks(train_as_rank, 2, tmp_path, dict(two=changes(2)))
    one, two = (boxes_in(tmp_path / name / 'epoch_2.pth') for name in ('one', 'two'))
    assert torch.equal(one, two) and len(one.unique(dim=0)) > 4


@pytest.mark.parametrize('arguments, message', [
    (dict(warmup=0), 'warmup=0'), (dict(interval=1.5), 'interval=1.5'), (dict(warmup=-.1), 'warmup=-0.1'),
    (dict(interval=1.), 'interval=1.0'), (dict(warmup='a'), "warmup='a'"), (dict(threshold=2.), 'threshold=2.0'),
    (dict(size=-3), 'size=-3'),
])
def test_numbers_without_a_meaning_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        ContrastiveCropHook(**arguments)


def test_boxes_that_no_view_uses_are_an_input_error(train, images):
    with pytest.raises(InputError, match='no view uses: give .*box_alpha'):
        train(**boxed(images, box_alpha=None))


@pytest.mark.parametrize('model, message', [
    (dict(DINO, backbone=dict(DINO['backbone'], class_token=False)), 'this backbone has none'),
    (dict(DINO, backbone=dict(type='TimmBackbone', name='convit_tiny', model_args=dict(depth=1, img_size=48))),
     'cannot take images of 32 x 32 px'),
    (dict(_delete_=True, type='ToyAlgorithm'), 'ToyBackbone has no heat_map'),
])
def test_a_backbone_that_cannot_say_where_it_looks_is_known_before_training(train, images, model, message):
    with pytest.raises(InputError, match=f'asks the backbone where it looks.*{message}'):
        train(**{**boxed(images), 'model': model})
