"""The schedules of our configs against the public code of DINO and BAM."""
from __future__ import annotations

import json

import pytest
import torch
from golden_files import GOLDEN
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from mmdssl.schedules import Progress, cosine, warmup_epochs

SCHEDULES = json.loads((GOLDEN / 'schedules.json').read_text())
CONFIGS = GOLDEN.parents[1] / 'configs/_base_/schedules'


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
