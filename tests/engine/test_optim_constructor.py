from __future__ import annotations

import math

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, CosineAnnealingParamScheduler, LinearLR
from torch import nn
from torch.nn.utils import parametrizations

from mmdssl.engine import OptimWrapperConstructor
from mmdssl.errors import InputError

CFG = dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.04))


class Model(nn.Module):

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4), requires_grad=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 4))
        self.block = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.tied = self.block[0]
        self.scale = nn.Parameter(torch.ones(()))
        self.last = parametrizations.weight_norm(nn.Linear(4, 3, bias=False))
        self.bias = nn.Parameter(torch.zeros(2, 2))  # a matrix, but called a bias only at the top level


def group_names(model: nn.Module) -> list[set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    wrapper = OptimWrapperConstructor(CFG)(model)
    return [{names[parameter] for parameter in group['params']} for group in wrapper.optimizer.param_groups]


def test_groups_follow_dino():
    decay, none = group_names(Model())
    assert decay == {'cls_token', 'mask_token', 'block.0.weight', 'last.parametrizations.weight.original0',
                     'last.parametrizations.weight.original1', 'bias'}
    assert none == {'block.0.bias', 'block.1.weight', 'block.1.bias', 'scale'}


def test_values_of_the_groups():
    wrapper = OptimWrapperConstructor(CFG)(Model())
    assert [(group['lr'], group['weight_decay']) for group in wrapper.optimizer.param_groups] == [(0.1, 0.04), (0.1, 0)]
    assert wrapper.get_lr() == dict(lr=[0.1])


def test_all_can_decay():
    """MoCo v2 and v3: one group for everything."""
    wrapper = OptimWrapperConstructor(CFG, dict(decay_biases=True, decay_norms=True))(Model())
    assert [group['weight_decay'] for group in wrapper.optimizer.param_groups] == [0.04]
    for option in ('decay_biases', 'decay_norms'):
        rules = {rule.name: rule.decays for rule in OptimWrapperConstructor(CFG, {option: True}).rules(Model())}
        assert [rules['block.0.bias'], rules['scale'], rules['block.1.weight'], rules['block.1.bias']] == [
            option == 'decay_biases'] * 2 + [option == 'decay_norms'] * 2


def test_biases_and_norms_can_have_a_rate_of_their_own():
    """Barlow Twins; the log and the table of a dry run show the other one, wherever a model's first bias is."""
    wrapper = OptimWrapperConstructor(CFG, dict(bias_lr_mult=0.024))(Model())
    biases, weights = wrapper.optimizer.param_groups
    assert (biases['lr'], biases['weight_decay'], len(biases['params'])) == (pytest.approx(0.0024), 0, 4)
    assert (weights['lr'], weights['weight_decay'], len(weights['params'])) == (0.1, 0.04, 6)
    assert wrapper.get_lr() == dict(lr=[0.1])


def test_an_unknown_option_is_refused():
    with pytest.raises(InputError, match="'norm_decay_mult', which is read by nothing"):
        OptimWrapperConstructor(CFG, dict(norm_decay_mult=0))
    with pytest.raises(InputError, match="did you mean 'layer_decay'"):
        OptimWrapperConstructor(CFG, dict(layer_decay_rate=0.75))
    with pytest.raises(InputError, match='layer_decay needs model.backbone to be a transformer'):
        OptimWrapperConstructor(CFG, dict(layer_decay=0.75))(Model())


def test_schedulers_of_mmengine_follow_dino():
    """DINO's recipe: linear warm-up, cosine to 1e-6; weight decay 0.04 -> 0.4, but 0 stays 0."""
    wrapper = OptimWrapperConstructor(CFG)(Model())
    warmup, total, lr, final = 20, 200, 0.1, 1e-6
    schedulers = [LinearLR(wrapper, start_factor=1e-9, begin=0, end=warmup, by_epoch=False),
                  CosineAnnealingLR(wrapper, T_max=total - warmup, eta_min=final, begin=warmup, by_epoch=False),
                  CosineAnnealingParamScheduler(wrapper, 'weight_decay', T_max=total, eta_min_ratio=10, by_epoch=False)]
    for i in range(total):
        decays, none = wrapper.optimizer.param_groups
        if i < warmup:
            expected = lr * i / (warmup - 1)
        else:
            expected = final + (lr - final) * (1 + math.cos(math.pi * (i - warmup) / (total - warmup))) / 2
        assert decays['lr'] == none['lr'] == pytest.approx(expected, abs=2e-10)
        assert decays['weight_decay'] == pytest.approx(0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * i / total)) / 2)
        assert none['weight_decay'] == 0
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
