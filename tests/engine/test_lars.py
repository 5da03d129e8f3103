"""LARS against a plain loop in float64; LARS and LARC against the authors' code."""
from __future__ import annotations

import copy
import math

import pytest
import torch
from golden_files import Golden
from torch import nn

from mmdssl.engine import LARC, LARS, OptimWrapperConstructor
from mmdssl.errors import InputError

SETTINGS = dict(lr=0.3, momentum=0.9, weight_decay=0.01, eta=0.001)


class Model(nn.Module):

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
        self.zero = nn.Parameter(torch.zeros(2, 3))
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.double()

    def forward(self, images):
        return self.layers(images).square().sum() + (self.zero * images[0, 0, 0, 0]).sum()


def length(tensor: torch.Tensor) -> float:
    return math.sqrt(sum(value * value for value in tensor.flatten().tolist()))


def step(parameters: dict[str, torch.Tensor], velocities: dict[str, torch.Tensor]) -> None:
    """One parameter at a time."""
    for name, p in parameters.items():
        if p.grad is None:
            continue
        g = p.grad.clone()
        if p.ndim > 1:
            g += SETTINGS['weight_decay'] * p
            if length(p) > 0 and length(g) > 0:
                g *= SETTINGS['eta'] * length(p) / length(g)
        velocities[name] = SETTINGS['momentum'] * velocities.get(name, 0) + g
        p -= SETTINGS['lr'] * velocities[name]


def test_steps_are_those_of_the_plain_loop():
    model = Model()
    other = copy.deepcopy(model)
    wrapper = OptimWrapperConstructor(dict(optimizer=dict(type='mmdssl.LARS', **SETTINGS)))(model)
    assert type(wrapper.optimizer) is LARS and len(wrapper.optimizer.param_groups) == 2
    velocities = {}
    for _ in range(4):
        images = torch.randn(6, 3, 4, 4, dtype=torch.float64)
        wrapper.update_params(model(images))
        other.zero_grad()
        other(images).backward()
        with torch.no_grad():
            step(dict(other.named_parameters()), velocities)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, other.get_parameter(name), rtol=1e-12, atol=1e-14)
    assert model.zero.any() and torch.equal(model.unused, torch.ones_like(model.unused))


def test_vectors_are_left_alone_in_any_group():
    """Even where their group decays, as in one group for all parameters."""
    vector, matrix = (nn.Parameter(torch.full(shape, 2.)) for shape in ((3, ), (3, 3)))
    optimizer = LARS([vector, matrix], **SETTINGS)
    vector.grad, matrix.grad = torch.zeros(3), torch.zeros(3, 3)
    optimizer.step()
    assert (vector == 2).all() and (matrix < 2).all()


def test_a_restored_optimizer_goes_on():
    def trained(restore: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = Model()
        optimizer = LARS(model.parameters(), **SETTINGS)
        for i in range(4):
            if restore and i == 2:
                state = optimizer.state_dict()
                optimizer = LARS(model.parameters(), lr=1.)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            model(torch.randn(6, 3, 4, 4, dtype=torch.float64)).backward()
            optimizer.step()
        return model.layers[0].weight

    assert torch.equal(trained(True), trained(False))


@pytest.mark.parametrize('wrong', [dict(lr=-0.1), dict(momentum=1.), dict(momentum=-0.1), dict(eta=-1e-3)])
def test_numbers_without_a_meaning_are_input_errors(wrong):
    with pytest.raises(InputError, match=f'{next(iter(wrong))}={next(iter(wrong.values()))}'):
        LARS([nn.Parameter(torch.ones(2))], **{**SETTINGS, **wrong})


GOLDEN = Golden('family/lars_steps')
RULES = dict(mocov3=LARS, barlowtwins=LARS, swav_larc=LARC)


@pytest.mark.parametrize('source', RULES)
def test_steps_are_those_of_the_authors(source):
    config = GOLDEN.config
    parameters = {name: nn.Parameter(value.clone()) for name, value in GOLDEN.under('before.').items()}
    optimizer = RULES[source](parameters.values(), lr=1., momentum=config['momentum'], weight_decay=config['weight_decay'],
                              eta=config['trust_coefficient'])
    for i, lr in enumerate(config['lr']):
        optimizer.param_groups[0]['lr'] = lr
        for name, parameter in parameters.items():
            parameter.grad = GOLDEN[f'grads.{name}'][i].clone()
        optimizer.step()
    for name, parameter in parameters.items():
        expected = GOLDEN[f'{source}.after.{name}']
        assert (parameter - expected).abs().max() <= 1e-6 * max(expected.abs().max(), 1e-6)


def test_larc_adapts_and_decays_vectors_too():
    vector = nn.Parameter(torch.full((4, ), 2., dtype=torch.float64))
    vector.grad = torch.full((4, ), 3., dtype=torch.float64)
    optimizer = LARC([vector], **SETTINGS)
    optimizer.step()
    ratio = 0.001 * 4 / (6 + 0.01 * 4 + 1e-8)
    torch.testing.assert_close(vector.detach(), torch.full((4, ), 2 - 0.3 * ratio * (3 + 0.01 * 2), dtype=torch.float64))


@pytest.mark.parametrize('value, gradient', [(0., 3.), (2., 0.)])
def test_larc_leaves_alone_what_has_no_length_or_no_gradient(value, gradient):
    vector = nn.Parameter(torch.full((4, ), value))
    vector.grad = torch.full((4, ), gradient)
    LARC([vector], **SETTINGS).step()
    torch.testing.assert_close(vector.detach(), torch.full((4, ), value - 0.3 * gradient))
