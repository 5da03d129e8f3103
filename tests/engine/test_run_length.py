"""A run that ``--cfg-options`` shorten has the course of the whole one."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

import mmdssl  # noqa: F401  registers everything
from mmdssl.engine.run_length import fit_schedules, in_iterations, run_length
from mmdssl.schedules import Progress, epochs_done, warmup_epochs

ROOT = Path(__file__).parents[2] / 'configs'


def shortened(path: str, **options) -> tuple[Config, str]:
    cfg = Config.fromfile(ROOT / f'{path}.py')
    options = {key.replace('__', '.'): value for key, value in options.items()}
    length = run_length(cfg)
    cfg.merge_from_dict(options)
    return cfg, fit_schedules(cfg, length, options)


def values(cfg: Config, name: str, epoch_length: int = 1) -> list[float]:
    """Of the first parameter group in each iteration of a run."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1., weight_decay=1.)
    (key, length), schedulers, found = run_length(cfg), [], []
    for each in in_iterations(cfg.param_scheduler, length, epoch_length):
        each = dict(dict(end=length), **each, optimizer=optimizer)
        build = PARAM_SCHEDULERS.get(each.pop('type'))
        by_iteration = each.pop('convert_to_iter_based', False)
        schedulers.append(build.build_iter_from_epoch(**each, epoch_length=epoch_length) if by_iteration else build(**each))
    for iteration in range(length * (epoch_length if key == 'max_epochs' else 1)):
        found.append(optimizer.param_groups[0][name])
        optimizer.step()
        for each in schedulers:
            if not each.by_epoch or (iteration + 1) % epoch_length == 0:
                each.step()
    return found


@pytest.mark.parametrize('path', ['segmentation/small_semfpn_world', 'detection/small_mask-rcnn_world'])
def test_a_quarter_of_the_iterations_runs_through_all_of_the_schedule(path):
    whole, quarter = shortened(path)[0], shortened(path, train_cfg__max_iters=100)[0]
    long, short = values(whole, 'lr'), values(quarter, 'lr')
    assert short[0] == long[0] and short[-1] < 0.03 and short.index(max(short)) == 9  # 10 of 100 iterations of warm-up
    assert short == pytest.approx(long[::4], abs=0.09)


def test_an_epoch_of_pretraining_runs_through_all_of_the_schedule():
    """800 epochs, 10 of them warm-up, in 2 of 400 iterations: 10 of them."""
    cfg, said = shortened('pretrain/dino', train_cfg__max_epochs=2)
    rates, decays = values(cfg, 'lr', 400), values(cfg, 'weight_decay', 400)
    assert rates.index(max(rates)) == 9 and rates[-1] < 1e-4 and rates[405] == pytest.approx(0.5, abs=0.01)
    assert (decays[0], decays[400], decays[-1]) == (1, pytest.approx(5.5), pytest.approx(10, abs=1e-3))
    assert cfg.model.teacher_temperature == (0.04, 0.07, 0.075) and cfg.model.freeze_last_layer == 0.0025
    assert '2 of the 800 epochs' in said and 'LinearLR.end 10 -> 0.025' in said and '(0.04, 0.07, 30) -> (0.04, 0.07, 0.075)' in said


def test_milestones_of_epochs_break_into_iterations():
    cfg, _ = shortened('detection/mask-rcnn_vit-small_1x_coco', train_cfg__max_epochs=5)
    warmup, steps = in_iterations(cfg.param_scheduler, 5, 240)
    assert (warmup.end, steps['milestones'], steps['end'], steps['by_epoch']) == (208, [900, 1100], 1200, False)
    rates = values(cfg, 'lr', 240)
    assert [rates[i] for i in (800, 1000, 1199)] == pytest.approx([1, 0.1, 0.01])


def test_what_options_name_stays():
    cfg, said = shortened('pretrain/ibot', train_cfg__max_epochs=100, param_scheduler__0__end=10, param_scheduler__1__begin=10,
                          model__teacher_temperature__patch=(0.04, 0.06, 30))
    assert [scheduler.get('end', scheduler.get('begin')) for scheduler in cfg.param_scheduler] == [10, 10, None]
    assert cfg.model.teacher_temperature.patch == (0.04, 0.06, 30) and 'LinearLR' not in said
    cfg, said = shortened('pretrain/dino', train_cfg__max_epochs=5, optim_wrapper__optimizer__lr=1e-3)
    assert cfg.param_scheduler[0].end == 0.0625
    assert shortened('pretrain/dino', optim_wrapper__optimizer__lr=1e-3)[1] == ''


def test_hooks_keep_whole_epochs():
    hook = shortened('pretrain/bam_scripts', train_cfg__max_epochs=20)[0].default_hooks.contrastive_crop
    assert (hook.warmup, hook.interval) == (2, 2)


def test_a_longer_run_says_where_its_schedules_end():
    cfg, said = shortened('segmentation/small_semfpn_world', train_cfg__max_iters=800)
    assert cfg.param_scheduler[1].end == 400 and 'param_scheduler.1.end=800' in said and 'param_scheduler.0' not in said
    assert shortened('pretrain/dino', train_cfg__max_epochs=1600)[1] == ''  # which follow the run


def test_ramps_without_room_are_left_out():
    """A single step of warm-up would leave the rate where it begins."""
    cfg, _ = shortened('segmentation/small_semfpn_world', train_cfg__max_iters=5)
    assert [scheduler.type for scheduler in cfg.param_scheduler] == ['PolyLR'] and values(cfg, 'lr')[0] == 1
    cfg, _ = shortened('pretrain/dino', train_cfg__max_epochs=2)
    assert len([*in_iterations(cfg.param_scheduler, 2, 10)]) == 2


def test_dates_of_whole_epochs_are_untouched():
    given = Config.fromfile(ROOT / 'pretrain/dino.py').param_scheduler
    assert [id(each) for each in in_iterations(given, 800, 7)] == [id(each) for each in given]


def test_ramps_that_are_no_whole_epochs_run_by_iteration():
    """Over half an epoch of 10 iterations; freezing too."""
    found = [warmup_epochs(0.04, 0.07, 0.5, Progress(i, 20, i // 10, 2)) for i in range(12)]
    assert found == pytest.approx([0.04 + 0.006 * min(i, 5) for i in range(12)])
    assert [epochs_done(Progress(i, 20, i // 10, 2), 0.3) >= 0.3 for i in range(5)] == [False] * 3 + [True] * 2
    assert [epochs_done(Progress(i, 20, i // 10, 2), 1) >= 1 for i in (9, 10)] == [False, True]
