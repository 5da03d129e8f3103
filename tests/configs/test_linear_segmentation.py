"""The recipes of linear segmentation: their numbers, and what they train."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper, StepLR

import mmdssl  # noqa: F401  registers everything
from mmdssl.engine import OptimWrapperConstructor
from mmdssl.engine.config_check import check_config

ROOT = Path(__file__).parents[2] / 'configs/dense'
CONFIGS = sorted(ROOT.glob('*linear-*.py'))
SCHEDULERS = dict(LinearLR=LinearLR, CosineAnnealingLR=CosineAnnealingLR, StepLR=StepLR)


@pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])
def test_nothing_in_it_is_unknown(path, monkeypatch):
    """But for the data, which is not here."""
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    cfg = Config.fromfile(path)
    check_config(cfg)
    recipe, data = path.stem.removeprefix('small_').split('_')
    record, classes = cfg.default_hooks.record, cfg.model.get('num_classes') or cfg.model.decode_head.num_classes
    names = {'world': 'sample-world', 'cocothings': 'coco-things', 'cocostuff': 'coco-stuff'}
    assert (record.task, record.dataset) == (recipe, names.get(data, data))
    assert classes == dict(voc12=21, ade20k=150, cocothings=12, cocostuff=15, cityscapes=19, camvid=11, world=11)[data]
    if recipe == 'linear-leopart':
        assert len({loader.dataset.size for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)}) == 1
        trained = cfg.train_dataloader.dataset
        assert (trained.augment, trained.scale, trained.flip, trained.jitter) == (True, (0.8, 1.0), 0.5, 0.0)
        assert not cfg.val_dataloader.dataset.get('augment')
    else:
        assert (record.setting.image, record.setting.classes) == (cfg.model.test_cfg.crop_size[0], classes) and cfg.model.backbone.frozen


def rates(schedulers: list[dict], lr: float, steps: int) -> list[float]:
    """Learning rates of the steps of a run."""
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=lr))
    built = [SCHEDULERS[cfg['type']](wrapper, **{key: value for key, value in cfg.items() if key != 'type'}) for cfg in schedulers]
    found = []
    for _ in range(steps):
        found.append(wrapper.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in built:
            scheduler.step()
    return found


def test_dinov3s_rate_is_torchs_one_cycle_after_the_warm_up():
    """With ``pct_start=0``, whose first step is one further; before, the authors' straight lines are at most 3.4 % away."""
    cfg = Config.fromfile(ROOT / 'linear-dinov3_ade20k.py')
    steps, lr = cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.lr
    ours = rates(cfg.param_scheduler, lr, steps)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0., final_div_factor=math.inf)
    theirs = []
    for _ in range(steps):
        theirs.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        cycle.step() if len(theirs) < steps else None
    assert ours[1501:] == pytest.approx(theirs[1500:-1], rel=1e-6, abs=1e-12)
    for t in range(0, 1500, 50):
        authors = lr * (1 - (1 - t / 1500) * (1 - 1e-6)) * (1 - t / steps)
        assert abs(ours[t] - authors) < 0.034 * lr
    assert ours[0] == pytest.approx(1e-6 * lr, rel=1e-3) and ours[-1] < 1e-5 * lr


def test_leoparts_rate_is_torchs_step():
    cfg = Config.fromfile(ROOT / 'linear-leopart_voc12.py')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.01)
    step, theirs = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.1), []
    for _ in range(25):
        theirs.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        step.step()
    assert cfg.train_cfg.max_epochs == 25
    assert rates(cfg.param_scheduler, cfg.optim_wrapper.optimizer.lr, 25) == pytest.approx(theirs)


@pytest.mark.parametrize('name, decay', [('linear-leopart_voc12', 1e-4), ('linear-dinov3_ade20k', 1e-3)])
def test_everything_that_is_trained_decays_at_one_rate(name, decay):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    head = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 3, 1))
    wrapper = dict(cfg.optim_wrapper)
    paramwise = wrapper.pop('paramwise_cfg')
    wrapper.pop('constructor')
    groups = OptimWrapperConstructor(wrapper, paramwise)(head[1:] if 'leopart' in name else head).optimizer.param_groups
    assert [(group['lr'], group['weight_decay']) for group in groups] == [(cfg.optim_wrapper.optimizer.lr, decay)]
