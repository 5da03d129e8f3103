"""Every config of classification: nothing in it is unknown, its network learns, and its numbers are those of the papers."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from torch import nn

import mmdssl  # noqa: F401  registers everything
from mmdssl.engine.config_check import check_config
from mmdssl.engine.own_weights import use_weights

ROOT = Path(__file__).parents[2] / 'configs/classification'
CONFIGS = sorted(path for path in ROOT.glob('*.py') if 'train_cfg' in Config.fromfile(path))
TINY = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=24, depth=12, num_heads=2), img_size=32, patch_size=8, mask_token=True)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_nothing_in_it_is_unknown_and_every_parameter_learns(path, monkeypatch, make_views):
    """What gets no gradient would stop a distributed run, for instance the mask token of a checkpoint. The backbone shrinks."""
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    cfg = Config.fromfile(path)
    check_config(cfg)
    assert cfg.default_hooks.record.task in ('linear', 'finetune', 'semi-supervised', 'transfer-finetune')
    if 'name' in cfg.model.backbone:
        cfg.model.backbone.update(name='resnet18', model_args=dict(layers=[1, 1, 1, 1], channels=[8, 8, 8, 16]))
    else:
        monkeypatch.setattr('mmdssl.engine.own_weights.backbone_config', lambda *args: TINY)
        use_weights(cfg, 'tiny', load=False)
    cfg.model.num_classes = 2
    with DefaultScope.overwrite_default_scope('mmdssl'):
        model = MODELS.build(cfg.model).train()
    views = make_views(batch_size=4, masked=False, local=False, num=1, labels=True)
    loss, _ = model.parse_losses(model(views))
    loss.backward()
    assert torch.isfinite(loss)
    assert not {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert model.scores(views['global'].images[0]).shape[::2] == (4, 2)


def curve(cfg: Config, images: int, length: int = 10) -> list[float]:
    """The highest learning rate in each iteration of a run of so many images per step and iterations per epoch."""
    rate = max(cfg.model.rates) if 'rates' in cfg.model else cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate * images / cfg.auto_scale_lr.base_batch_size)
    schedulers, epochs = [], cfg.train_cfg.max_epochs
    for scheduler in cfg.param_scheduler:
        scheduler = dict(end=epochs, **scheduler) if 'end' not in scheduler else dict(scheduler)
        kind, by_iteration = PARAM_SCHEDULERS.get(scheduler.pop('type')), scheduler.pop('convert_to_iter_based', False)
        build = (lambda **kwargs: kind.build_iter_from_epoch(epoch_length=length, **kwargs)) if by_iteration else kind
        schedulers.append(build(optimizer=optimizer, **scheduler))
    rates = []
    for iteration in range(epochs * length):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % length == 0:
                scheduler.step()
    return rates


LINEAR = {  # rate, images of a step, epochs
    'linear_dino': (0.001 * 1024 / 256, 1024, 100), 'linear_dino_vit-base': (0.004, 1024, 100), 'linear_dino_resnet50': (0.004, 1024, 100),
    'linear_ibot': (9 * 4, 1024, 100), 'linear_ibot_vit-base': (9 * 4, 1024, 100), 'linear_mocov3': (12, 1024, 90),
    'linear_mocov3_resnet50': (0.4, 1024, 90), 'linear_bam': (0.008, 1024, 100), 'linear_bam_resnet50': (1.2, 1024, 100)}


@pytest.mark.parametrize('name', LINEAR)
def test_linear_probes_follow_a_cosine_by_epoch(name):
    peak, images, epochs = LINEAR[name]
    found = curve(Config.fromfile(ROOT / f'{name}.py'), images)
    expected = [peak * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs) for _ in range(10)]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_linear_probe_of_mae():
    """6.4 at 16384 images, ten epochs of warm-up and a cosine to 0, both by iteration."""
    cfg = Config.fromfile(ROOT / 'linear_mae.py')
    found, warm, end = curve(cfg, 16384), 100, 900
    for i, rate in enumerate(found):
        expected = 6.4 * i / warm if i < warm else 3.2 * (1 + math.cos(math.pi * (i - warm) / (end - warm)))
        assert rate == pytest.approx(expected, abs=6.4 / warm if i < warm else 1e-6)  # MMEngine's reaches the peak one step earlier
    assert cfg.optim_wrapper.optimizer.type == 'LARS' and cfg.model.norm


def test_what_is_read_of_the_backbone():
    reads = {path.stem: Config.fromfile(path).model.extractor for path in CONFIGS if path.stem.startswith('linear')}
    four, both = dict(blocks=4, read='class'), dict(blocks=1, read='class+mean')
    pooled, last = dict(blocks=1, read='pooled'), dict(blocks=1, read='class')
    assert reads == dict(
        linear_dino=four, linear_ibot=four, linear_bam=both, linear_mocov3=last, linear_mae=last, linear_bam_resnet50=pooled,
        linear_dino_resnet50=pooled, linear_mocov3_resnet50=pooled, **{'linear_dino_vit-base': both, 'linear_ibot_vit-base': both})
    rates = Config.fromfile(ROOT / 'linear_ibot.py').model.rates
    assert len(set(rates)) == len(rates) == 45 and min(rates) == pytest.approx(1e-4) and max(rates) == 9


def test_fine_tuning_as_deit():
    """1e-3 at 1024 images, five epochs of warm-up from 1e-6, to 1e-5. The cosine of the authors has begun at epoch 0."""
    cfg = Config.fromfile(ROOT / 'finetune_deit_vit-small.py')
    found = curve(cfg, 1024)[::10]
    assert found[0] == pytest.approx(1e-6) and len(found) == 300
    assert found[:6] == pytest.approx([1e-6 + epoch / 5 * (1e-3 - 1e-6) for epoch in range(6)])
    theirs = [1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) for epoch in range(5, 300)]
    assert found[5:] == pytest.approx(theirs, abs=0.016 * 1e-3)
    model, views = cfg.model, cfg.train_dataloader.dataset.views.global_
    assert (model.mixup, model.cutmix, model.mix_prob, model.switch_prob, model.label_smoothing, model.erasing, model.ema) == (
        0.8, 1, 1, 0.5, 0.1, 0.25, 0.99996)
    assert views.photometric.recipe == 'rand-m9-mstd0.5-inc1' and views.interpolation == 'bicubic' and list(views.scale) == [0.08, 1]
    assert cfg.train_dataloader.sampler.repeats == 3 and model.backbone.drop_path_rate == 0.1
    crop = cfg.val_dataloader.dataset
    assert crop.size / crop.resize == 0.875 and 'interpolation' not in crop
    mocov3 = Config.fromfile(ROOT / 'finetune_mocov3_vit-base.py')
    assert mocov3.train_cfg.max_epochs == 150 and mocov3.train_dataloader.sampler.repeats == 3


BEIT = {  # rate at 1024 images, epochs, warm-up, layer decay, drop path
    'finetune_ibot_vit-small': (4e-3, 200, 20, 0.75, 0.1), 'finetune_ibot_vit-base': (4e-3, 100, 20, 0.65, 0.2),
    'finetune_mae_vit-base': (2e-3, 100, 5, 0.65, 0.1)}


@pytest.mark.parametrize('name', BEIT)
def test_fine_tuning_as_beit(name):
    peak, epochs, warm, decay, drop_path = BEIT[name]
    cfg = Config.fromfile(ROOT / f'{name}.py')
    warm, rest = 10 * warm, 10 * (epochs - warm)
    expected = [peak * i / (warm - 1) for i in range(warm)]
    expected += [1e-6 + 0.5 * (peak - 1e-6) * (1 + math.cos(math.pi * i / rest)) for i in range(rest)]
    assert curve(cfg, 1024) == pytest.approx(expected, abs=1e-8)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay == decay and cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05 and cfg.model.get('ema') is None and cfg.model.head_std == 2e-5
    assert cfg.model.read == ('mean' if 'mae' in name else 'class') and cfg.model.get('norm', False) == ('mae' in name)


def test_few_labels():
    rates = {}
    for path in CONFIGS:
        if path.stem.startswith('semi'):
            cfg = Config.fromfile(path)
            rates[path.stem] = max(curve(cfg, 1024 if 'ibot' in path.stem else 512))
            assert cfg.train_dataloader.dataset.dataset.fraction == (0.01 if path.stem.endswith('_1percent') else 0.1)
    assert rates == pytest.approx({'semi_ibot_vit-small_1percent': 1e-5, 'semi_ibot_vit-small_10percent': 1e-5,
                                   'semi_bam_vit-small_1percent': 5e-5, 'semi_bam_vit-small_10percent': 5e-5})


def test_transfer():
    """What the protocols' tables say of each data set: highest rate, epochs, weight decay, mixup, CutMix and erasing."""
    found = {}
    for path in CONFIGS:
        if path.stem.startswith('transfer'):
            cfg = Config.fromfile(path)
            model, trained = cfg.model, cfg.train_dataloader
            name = path.stem.rpartition('_')[2]
            assert (trained.dataset.dataset.name, cfg.val_dataloader.dataset.name, cfg.default_hooks.record.dataset) == (name, ) * 3
            assert trained.sampler.repeats == (3 if 'ibot' in path.stem else 1) and model.backbone.arch == 'base'
            found[path.stem.removeprefix('transfer_')] = (
                float(f'{max(curve(cfg, 8 * trained.batch_size, 1)):.4g}'), cfg.train_cfg.max_epochs,
                cfg.optim_wrapper.optimizer.weight_decay, model.mixup, model.cutmix, model.erasing, model.num_classes)
            assert curve(cfg, 8 * trained.batch_size, 1)[0] == pytest.approx(1e-6, rel=0.01)
    assert found == dict(
        ibot_cifar10=(1.125e-5, 1000, 0.05, 0.8, 1.0, 0.25, 10), ibot_cifar100=(1.125e-5, 1000, 0.05, 0.8, 1.0, 0.25, 100),
        ibot_flowers=(1.125e-5, 1000, 0.05, 0.8, 1.0, 0.25, 102), ibot_cars=(1.125e-4, 1000, 0.05, 0.8, 1.0, 0.25, 196),
        ibot_inat18=(1.125e-5, 360, 0.05, 0.8, 1.0, 0.1, 8142), ibot_inat19=(1.125e-5, 360, 0.05, 0.8, 1.0, 0.1, 1010),
        mocov3_cifar10=(6e-4, 100, 0.1, 0.8, 1.0, 0.0, 10), mocov3_cifar100=(6e-4, 100, 0.1, 0.5, 1.0, 0.0, 100),
        mocov3_flowers=(6e-4, 100, 0.3, 0.0, 0.0, 0.25, 102), mocov3_pets=(6e-4, 100, 0.1, 0.8, 0.0, 0.0, 37))
