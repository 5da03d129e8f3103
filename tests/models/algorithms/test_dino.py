"""DINO against the equations, and what it shares with all that is built on it: teacher, centers, frozen prototypes."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from float64_reference import Network, assert_center_moved, assert_equal, cls_loss, mean, softmax
from timm.layers import DropBlock2d, DropPath
from torch import nn

from mmdssl.errors import InputError
from mmdssl.models.algorithms import DINO
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.models.algorithms.teacher import teacher_of
from mmdssl.schedules import Progress


def cls_logits(network: Network, *groups) -> list[list[torch.Tensor]]:
    return [[network.logits(network(image)[0]) for image in view] for group in groups for view in group.images]


@pytest.mark.parametrize('position', ['learnable', 'sincos'])
@pytest.mark.parametrize('local', [True, False])
def test_loss_and_center_follow_the_equations(make_algorithm, make_views, position, local):
    algorithm = make_algorithm('DINO', backbone=dict(position=position))
    algorithm.set_progress(Progress(iteration=45, max_iterations=100, epoch=4, max_epochs=10))
    temperature = np.linspace(0.04, 0.07, 30)[4]
    views = make_views(masked=False, local=local)
    center = algorithm.centers['cls'].center.double().clone()
    teacher = cls_logits(Network(algorithm.teacher), views['global'])
    student = cls_logits(Network(algorithm.student), views['global'], *[views['local']] if local else [])
    raw = sum(teacher, [])
    targets = [softmax((t - center) / temperature) for t in raw]
    entropy = -mean([(p * p.log()).sum() for p in targets])
    expected = cls_loss(teacher, student, center, temperature)

    losses = algorithm.loss(views)

    assert_equal(losses['loss_cls'], expected)
    assert_equal(losses['entropy'], entropy)
    assert_equal(losses['kl'], expected - entropy)
    assert_center_moved(algorithm.centers['cls'], center, raw)


def test_temperatures_are_settings(make_algorithm, make_views):
    algorithm = make_algorithm('DINO', teacher_temperature=(0.04, 0.05, 0), student_temperature=0.2)
    views = make_views(masked=False)
    center = algorithm.centers['cls'].center.double().clone()
    teacher = cls_logits(Network(algorithm.teacher), views['global'])
    student = cls_logits(Network(algorithm.student), views['global'], views['local'])
    halved = [[logits / 2 for logits in view] for view in student]
    expected = cls_loss(teacher, halved, center, 0.05)
    assert_equal(algorithm.loss(views)['loss_cls'], expected)


def test_teacher_follows_the_student_with_the_scheduled_momentum(make_algorithm):
    algorithm = make_algorithm('DINO', momentum=0.9)
    for iteration in (0, 7, 19):
        algorithm.set_progress(Progress(iteration, 20, 0, 1))
        momentum = 1 - 0.1 * (1 + math.cos(math.pi * iteration / 20)) / 2
        student = {name: p.detach().double() for name, p in algorithm.student.named_parameters()}
        expected = {name: momentum * p.double() + (1 - momentum) * student[name]
                    for name, p in algorithm.teacher.named_parameters()}
        algorithm.after_step()
        for name, parameter in algorithm.teacher.named_parameters():
            assert_equal(parameter, expected[name])


def test_init_weights_makes_the_teacher_a_copy_of_the_student(make_algorithm):
    algorithm = make_algorithm('DINO')
    algorithm.init_weights()
    student = algorithm.student.state_dict()
    for name, value in algorithm.teacher.state_dict().items():
        assert torch.equal(value, student[name]), name


def test_init_cfg_of_the_backbone_reaches_student_and_teacher(make_algorithm):
    constant = dict(type='Constant', layer='LayerNorm', val=0.25)
    algorithm = make_algorithm('DINO', backbone=dict(init_cfg=constant))
    algorithm.init_weights()
    for network in (algorithm.student, algorithm.teacher):
        assert (network.backbone.norm.weight == 0.25).all()


def test_teacher_has_no_drop_path(make_algorithm, make_views):
    algorithm = make_algorithm('DINO', backbone=dict(drop_path_rate=0.5)).train()
    rates = {net: [m.drop_prob for m in algorithm.get_submodule(net).modules() if isinstance(m, DropPath)]
             for net in ('student', 'teacher')}
    assert rates == dict(student=[0.5, 0.5], teacher=[0, 0])
    images = make_views()['global'].images[0]
    assert torch.equal(algorithm.backbone.features(images), algorithm.backbone.features(images))


def test_teacher_has_no_dropout():
    block = dict(drop_prob=0.5, block_size=2)
    student = nn.Sequential(nn.Conv2d(3, 4, 3), DropBlock2d(**block), nn.Dropout(0.5)).train()
    teacher, images = teacher_of(student), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(teacher(images), teacher[0](images))
    assert not torch.allclose(student(images), student[0](images))


def test_prototypes_are_frozen_in_the_first_epochs(make_algorithm):
    algorithm = make_algorithm('DINO', freeze_last_layer=2)
    prototypes = {id(p) for name, p in algorithm.student.named_parameters() if 'last_layer' in name}
    assert len(prototypes) == 2
    frozen = []
    for epoch in range(4):
        algorithm.set_progress(Progress(epoch * 10, 40, epoch, 4))
        frozen.append({id(p) for p in algorithm.frozen_parameters()})
    assert frozen == [prototypes, prototypes, set(), set()]


def test_total_is_the_sum_of_the_losses_alone():
    values = dict(loss_cls=2., loss_patch=3., entropy=70., kl=10.)
    losses = {name: torch.tensor(value) for name, value in values.items()}
    total, logged = Algorithm.parse_losses(None, losses)
    assert total == 5 and logged['loss'] == 5 and logged['entropy'] == 70


def test_views_that_do_not_fit_are_named(make_algorithm, make_views):
    views = make_views()
    del views.groups['global']
    with pytest.raises(InputError, match='DINO reads the view groups global, local, the data makes local'):
        make_algorithm('DINO').loss(views)
    with pytest.raises(InputError, match='the data makes global, local, query'):
        make_algorithm('DINO').loss(make_views(query=(1, 16)))
    views = make_views()
    views['local'].images = views['local'].images[..., :12, :12]
    with pytest.raises(InputError, match='local views of 12 px are not whole patches of 8 px'):
        make_algorithm('DINO').loss(views)


def test_backbone_is_the_teachers(make_algorithm):
    algorithm: DINO = make_algorithm('DINO')
    assert algorithm.backbone is algorithm.teacher.backbone and algorithm.num_prototypes == 12
