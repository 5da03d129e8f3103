"""Schedules, losses and crops of our configs against the public code of DINO, iBOT, PQCL and BAM."""
from __future__ import annotations

import json

import pytest
import torch
from golden_files import GOLDEN, Golden, difference
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from mmdssl.engine.hooks.contrastive_crop_hook import update_epochs
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress, cosine, warmup_epochs

SCHEDULES = json.loads((GOLDEN / 'schedules.json').read_text())
CONFIGS = GOLDEN.parents[1] / 'configs/_base_/schedules'
PRETRAIN = GOLDEN.parents[1] / 'configs/pretrain'


@pytest.mark.parametrize('name', ['dino', 'bam'])
def test_momentum_weight_decay_and_temperatures(name):
    wanted = SCHEDULES[name]
    length, epochs = wanted['max_iterations'], wanted['max_epochs']
    for value in wanted['values']:
        progress = Progress(value['iteration'], length, value['epoch'], epochs)
        assert cosine(wanted['momentum']['base'], 1., progress) == pytest.approx(value['momentum'], abs=1e-12)
        assert cosine(wanted['weight_decay']['base'], wanted['weight_decay']['final'], progress) == pytest.approx(
            value['weight_decay'], abs=1e-12)
    temperature = wanted.get('teacher_temperature') or wanted['target_temperature']
    for epoch, expected in enumerate(temperature['by_epoch']):
        assert warmup_epochs(temperature['start'], temperature['end'], temperature['warmup_epochs'],
                             Progress(0, length, epoch, epochs)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('name', ['dino', 'bam'])
def test_the_schedulers_of_the_config_run_through_the_same_values(name):
    """The shipped schedule at the length and the rate of the public run."""
    wanted = SCHEDULES[name]
    lr, decay, warmup = wanted['lr'], wanted['weight_decay'], wanted['lr']['warmup_epochs']
    optimizer = torch.optim.AdamW([dict(params=[torch.zeros(1)]), dict(params=[torch.zeros(1)], weight_decay=0.)],
                                  lr=lr['base'], weight_decay=decay['base'])
    recipe = Config.fromfile(CONFIGS / 'adamw_cosine.py').param_scheduler
    recipe[0].end = recipe[1].begin = warmup
    schedulers = []
    for scheduler in recipe:
        scheduler = dict(scheduler, optimizer=optimizer)
        scheduler.setdefault('end', wanted['max_epochs'])
        build = PARAM_SCHEDULERS.get(scheduler.pop('type')).build_iter_from_epoch
        scheduler.pop('convert_to_iter_based')
        schedulers.append(build(**scheduler, epoch_length=wanted['niter_per_epoch']))
    expected = {value['iteration']: value for value in wanted['values']}
    for iteration in range(wanted['max_iterations']):
        if iteration in expected:
            first, second = optimizer.param_groups
            assert first['lr'] == second['lr'] == pytest.approx(expected[iteration]['lr'], abs=1e-8 * lr['base'])
            assert first['weight_decay'] == pytest.approx(expected[iteration]['weight_decay'], abs=1e-12)
            assert second['weight_decay'] == 0
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_loss_of_the_shipped_bam_scripts_is_the_authors():
    """With sizes of the golden latents: of 30 columns 6 are kept, of 8192 it is 128."""
    golden, recipe = Golden('bam_loss'), Config.fromfile(PRETRAIN / 'bam_scripts.py')
    case = golden.config['cases']['with_teacher_top_k']
    assert recipe.model.attention.top_k == 128
    recipe.merge_from_dict({
        'model.attention.top_k': case['top_k'], 'model.backbone.arch': dict(embed_dim=16, depth=1, num_heads=2),
        'model.projector': dict(hidden_dim=16, out_dim=24)})
    algorithm = MODELS.build(recipe.model)
    temperature = warmup_epochs(*algorithm.target_temperature, algorithm.progress)
    student = golden['latents.student'].clone().requires_grad_()
    value = algorithm.attention(student, golden['latents.teacher'], golden.config['num_targets'], temperature)['loss_bam']
    gradient, = torch.autograd.grad(value, student)
    assert difference(value, golden['with_teacher_top_k.loss']) < 2e-6
    assert difference(gradient, golden['with_teacher_top_k.grad']) < 1e-5


def test_crops_and_masks_are_those_of_the_authors_commands():
    dino, ibot, pqcl, scripts, paper = (Config.fromfile(PRETRAIN / f'{name}.py').train_dataloader.dataset.views for name in (
        'dino', 'ibot', 'pqcl_release', 'bam_scripts', 'bam_contrastive-crop'))
    for views, number in ((dino, 10), (ibot, 10), (scripts, 6)):
        assert [(recipe.blur_prob, recipe.get('solarize_prob', 0)) for recipe in views.global_.photometric] == [(1.0, 0), (0.1, 0.2)]
        assert (views.global_.size, tuple(views.global_.scale)) == (224, (0.25, 1.0))
        assert (views.local.num, views.local.size, tuple(views.local.scale)) == (number, 96, (0.05, 0.25))
        assert views.local.photometric.blur_prob == 0.5
    assert ibot.global_.mask == pqcl.global_.mask == dict(type='BlockMask', patch_size=16, ratio=(0.0, 0.3), variance=(0.0, 0.2))
    assert (pqcl.global_.num, pqcl.global_.photometric, tuple(pqcl.global_.scale)) == (2, dict(blur_prob=1.0), (0.25, 1.0))
    assert pqcl['local'] is None and (pqcl.query.num, pqcl.query.size, tuple(pqcl.query.scale), pqcl.query.flip) == (1, 96, (0.05, 0.25), 0)
    for views, interpolation in ((scripts, 'bicubic'), (paper, 'bilinear')):
        assert [(group.box_alpha, group.get('interpolation', 'bicubic')) for group in (views.global_, views.local)] == 2 * [
            (0.6, interpolation)]


def test_boxes_of_bam_scripts_are_found_when_the_authors_find_them():
    hook = Config.fromfile(PRETRAIN / 'bam_scripts.py').default_hooks.contrastive_crop
    theirs = [epoch + 1 for epoch in range(400) if epoch >= 40 and epoch % 40 == 0 and epoch != 399]  # after so many epochs
    assert list(update_epochs(hook.warmup, hook.interval, 400)) == theirs
