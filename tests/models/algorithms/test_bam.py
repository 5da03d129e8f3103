"""BAM against its equations, in one process and in several."""
from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from bam_equations import bam
from bam_ranks import CASES, loss_and_gradient, run_as_rank
from float64_reference import assert_equal
from processes import run_ranks

from mmdssl.errors import InputError
from mmdssl.models.algorithms import BAM
from mmdssl.schedules import Progress


def latents_of(network, *groups) -> torch.Tensor:
    """``(V, B, D)``, one image at a time."""
    return torch.stack([torch.stack([network.projector(network.backbone.features(image[None]))[0] for image in view])
                        for group in groups for view in group.images]).detach().double()


@pytest.mark.parametrize('balanced_set', ['all', 'global', 'full'])
@pytest.mark.parametrize('teacher', [True, False])
@pytest.mark.parametrize('local', [True, False])
def test_loss_and_entropies_follow_the_equations(make_algorithm, make_views, local, teacher, balanced_set):
    algorithm = make_algorithm('BAM', teacher=teacher, projector=dict(norm=False), attention=dict(balanced_set=balanced_set))
    views = make_views(masked=False, local=local)
    groups = [views[name] for name in views]
    keys = latents_of(algorithm.teacher, *groups) if teacher else None
    expected = bam(latents_of(algorithm.student, *groups), keys, balanced_set)
    values = algorithm.loss(views)
    assert list(values) == ['loss_bam', 'entropy_source', 'entropy_target', 'kl']
    for name, value in expected.items():
        torch.testing.assert_close(values[name].double(), value, rtol=1e-4, atol=1e-5)
    total, _ = algorithm.parse_losses(values)
    assert total == values['loss_bam']


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> Path:
    """Folder in which two and four gloo processes have left what they computed."""
    folder = tmp_path_factory.mktemp('ranks')
    for world in (2, 4):
        run_ranks(run_as_rank, world, folder)
    return folder


@pytest.mark.parametrize('world', [2, 4])
@pytest.mark.parametrize('case', CASES)
def test_processes_together_compute_what_one_does(ranks, case, world):
    expected = loss_and_gradient(CASES[case])
    assert expected['student.backbone.blocks.0.attn.qkv.weight'].abs().max() > 1e-4
    for rank in range(world):
        result = torch.load(ranks / f'{world}.{rank}')[case]
        assert set(result) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, rtol=1e-6, atol=1e-9)


def test_teacher_sees_only_what_the_balanced_set_needs(make_algorithm, make_views, monkeypatch):
    seen = []
    for balanced_set in ('all', 'global'):
        algorithm = make_algorithm('BAM', attention=dict(balanced_set=balanced_set))
        forward = algorithm.teacher.backbone.forward_tokens
        monkeypatch.setattr(algorithm.teacher.backbone, 'forward_tokens',
                            lambda x, forward=forward, **options: seen.append(x.shape[-1]) or forward(x, **options))
        algorithm.loss(make_views())
    assert seen == [32, 16, 32]


def test_teacher_follows_the_student(make_algorithm):
    algorithm = make_algorithm('BAM', momentum=0.9)
    algorithm.set_progress(Progress(5, 20, 0, 1))
    momentum = 1 - 0.1 * (1 + math.cos(math.pi * 5 / 20)) / 2
    name = 'projector.0.weight'
    student, teacher = (network.get_parameter(name).detach().double() for network in (algorithm.student, algorithm.teacher))
    algorithm.after_step()
    assert_equal(algorithm.teacher.get_parameter(name), momentum * teacher + (1 - momentum) * student)


def test_without_a_teacher_there_is_none(make_algorithm, make_views):
    algorithm: BAM = make_algorithm('BAM', teacher=False)
    algorithm.loss(make_views())['loss_bam'].backward()
    assert all(parameter.grad is not None for parameter in algorithm.parameters())
    assert algorithm.backbone is algorithm.student.backbone and not [n for n in algorithm.state_dict() if 'teacher' in n]
    algorithm.init_weights()
    algorithm.after_step()
    assert [type(m).__name__ for m in algorithm.student.projector].count('BatchNorm1d') == 3
    with_teacher = make_algorithm('BAM')
    assert with_teacher.backbone is with_teacher.teacher.backbone
    assert [type(m).__name__ for m in with_teacher.student.projector].count('BatchNorm1d') == 0


def test_init_weights_makes_the_teacher_a_copy_of_the_student(make_algorithm):
    algorithm = make_algorithm('BAM')
    algorithm.init_weights()
    for name, value in algorithm.teacher.state_dict().items():
        assert torch.equal(value, algorithm.student.state_dict()[name]), name


def test_target_temperature_moves_with_the_epoch(make_algorithm, make_views):
    algorithm = make_algorithm('BAM', target_temperature=(0.03, 0.09, 4))
    views = make_views()
    entropies = []
    for epoch in range(6):
        algorithm.set_progress(Progress(epoch, 6, epoch, 6))
        entropies.append(algorithm.loss(views)['entropy_target'].item())
    assert entropies == sorted(entropies) and len(set(entropies)) == 4
    constant = make_algorithm('BAM')
    constant.load_state_dict(algorithm.state_dict())
    assert constant.loss(views)['entropy_target'].item() == pytest.approx(entropies[1]), '0.05 is the default'


@pytest.mark.parametrize('teacher', [True, False])
def test_rank_is_that_of_the_features_that_are_evaluated(make_algorithm, make_views, teacher):
    algorithm = make_algorithm('BAM', teacher=teacher)
    views = make_views()
    algorithm.loss(views)
    expected = algorithm.backbone.features(views['global'].images.flatten(0, 1))
    torch.testing.assert_close(algorithm._features, expected)
    assert 1 < algorithm.diagnostics()['effective_rank'] <= 6


def test_mistakes_are_explained(make_algorithm, make_views):
    views = make_views(local=False)
    views['global'].images = views['global'].images[:1]
    with pytest.raises(InputError, match='there is only one: give train_dataloader.dataset.views.global_ two photometric'):
        make_algorithm('BAM').loss(views)
    with pytest.raises(InputError, match='BAM reads the view groups global, local, the data makes global, local, query'):
        make_algorithm('BAM').loss(make_views(query=(1, 16)))
    for temperature in (0.05, (0.05, 0.05), (0., 0.05, 0), '0.05'):
        with pytest.raises(InputError, match=r'target_temperature=.*: give \(a number above 0, .*, a number of at least 0\)'):
            make_algorithm('BAM', target_temperature=temperature)
