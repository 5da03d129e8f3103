from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, DefaultScope
from processes import run_ranks
from torch import nn

from mmdssl.engine import LARS, OptimWrapperConstructor
from mmdssl.errors import InputError
from mmdssl.protocols import Features, LinearMetric, LinearProbe
from mmdssl.protocols.linear import Head, LinearHeads, best_of, head_losses, heads_of, total, train_heads

SETTINGS = [Head(0.1), Head(0.5), Head(0.5, 0.01), Head(0.1, 0., True), Head(0.3, 0.01, True)]


def blobs(n: int = 120, classes: int = 6, width: int = 8, seed: int = 0) -> Features:
    """Features of classes that overlap a little."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 1.5 * torch.randn(classes, width, generator=torch.Generator().manual_seed(7))
    values = centres[labels] + torch.randn(n, width, generator=draw)
    return Features(values, labels, [str(i) for i in range(classes)], [str(i) for i in range(n)])


def heads(settings: list[Head], width: int = 8, classes: int = 6) -> LinearHeads:
    torch.manual_seed(3)
    return LinearHeads(width, classes, settings)


def test_a_classifier_for_each_combination():
    assert heads_of((1., 2.), (0., 1e-6), (True, False))[-1] == Head(2., 1e-6, True)
    assert [head.norm for head in heads_of((1., ), (0., ), [True, False])] == [False, True]


def test_each_gradient_is_that_of_a_classifier_alone():
    """In float64, against autograd of one linear layer behind one normalisation."""
    together, x, y = heads(SETTINGS).double(), torch.randn(20, 8).double(), torch.randint(0, 6, (20, ))
    total(head_losses(together(x), y)).backward()
    for linear, head in zip(together.linear, SETTINGS):
        weight, bias = (p.detach().clone().requires_grad_() for p in linear.parameters())
        seen = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt() if head.norm else x
        F.cross_entropy(seen @ weight.T + bias, y).backward()
        torch.testing.assert_close(linear.weight.grad, weight.grad, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(linear.bias.grad, bias.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('optimizer', [lambda groups: torch.optim.SGD(groups, momentum=0.9), lambda groups: LARS(groups, lr=0.1)])
def test_classifiers_side_by_side_become_what_each_becomes_alone(optimizer):
    def train(settings: list[Head]) -> LinearHeads:
        model = heads(settings).double()
        steps, data = optimizer(model.parameter_groups()), torch.Generator().manual_seed(0)
        for _ in range(12):
            x, y = torch.randn(16, 8, generator=data, dtype=torch.float64), torch.randint(0, 6, (16, ), generator=data)
            steps.zero_grad()
            total(head_losses(model(x), y)).backward()
            steps.step()
        return model

    together = train(SETTINGS)
    for i, head in enumerate(SETTINGS):
        alone = train([head])
        torch.testing.assert_close(together.linear[i].state_dict(), alone.linear[0].state_dict(), rtol=1e-10, atol=1e-12)
    ends = [linear.weight for linear in together.linear]
    assert not any(torch.allclose(a, b) for i, a in enumerate(ends) for b in ends[:i])


def test_one_that_diverges_leaves_the_others_alone():
    model = heads(SETTINGS[:3])
    nn.init.constant_(model.linear[1].weight, torch.inf)
    x, y = torch.randn(20, 8), torch.randint(0, 6, (20, ))
    loss = total(head_losses(model(x), y))
    loss.backward()
    assert loss.isfinite() and model.linear[0].weight.grad.isfinite().all() and model.linear[2].weight.grad.abs().sum() > 0
    for linear in model.linear:
        nn.init.constant_(linear.weight, torch.inf)
    assert total(head_losses(model(x), y)).isnan()


def test_training_on_features_is_plain_sgd():
    """A loop of its own: momentum by hand, a cosine by epoch, rates per 256 images, the rest of an epoch dropped."""
    bank, queries = blobs(50), blobs(30, seed=1)
    model, epochs, lr = heads([Head(2., 0.01)]), 4, 2. * 20 / 256
    weight, bias = (p.detach().clone().requires_grad_() for p in model.linear[0].parameters())
    order, velocity, expected = torch.Generator().manual_seed(5), [0., 0.], []
    for epoch in range(epochs):
        chosen = torch.randperm(50, generator=order)
        for some in (chosen[:20], chosen[20:40]):
            F.cross_entropy(bank.values[some] @ weight.T + bias, bank.labels[some]).backward()
            for i, p in enumerate((weight, bias)):
                velocity[i] = 0.9 * velocity[i] + p.grad + 0.01 * p.detach()
                p.data -= lr * (1 + math.cos(math.pi * epoch / epochs)) / 2 * velocity[i]
                p.grad = None
        expected.append(100 * ((queries.values @ weight.T + bias).argmax(1) == queries.labels).double().mean().item())
    found = train_heads(model, bank.values, bank.labels, queries.values, queries.labels, epochs, 20, seed=5)
    assert found.shape == (epochs, 1, 2)
    torch.testing.assert_close(model.linear[0].weight, weight, rtol=1e-4, atol=1e-6)
    assert found[:, 0, 0].tolist() == pytest.approx(expected)
    assert (found[..., 1] >= found[..., 0]).all()


def test_the_metric_names_the_best_and_when_it_was():
    metric, bank, queries = LinearMetric(rates=(1e-4, 0.3), epochs=5, batch_size=40), blobs(), blobs(60, seed=1)
    state = torch.random.get_rng_state()
    found = metric(bank, queries)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(found) == {'linear_top1', 'linear_top5', 'linear_head_lr', 'linear_best_epoch', 'linear_best_top1', 'linear_best_head_lr'}
    assert found['linear_head_lr'] == 0.3 and found['linear_best_top1'] >= found['linear_top1'] > 60
    assert found == metric(bank, queries)
    with pytest.raises(InputError, match='vector per image'):
        metric(Features(torch.randn(4, 3, 8), torch.arange(4), list('abcd'), list('abcd')), queries)
    assert best_of(dict(top1=[1., 3., 3.], top5=[9., 8., 7.]), SETTINGS[:3]) == dict(top1=3., top5=8., head_lr=.5, head_weight_decay=0.)
    assert best_of(dict(top1=[1.]), SETTINGS[:1]) == dict(top1=1.)


def _as_rank(expected: dict[str, float]) -> None:
    torch.distributed.init_process_group('gloo')
    for rates in ((0.01, 0.1, 0.3), (0.3, )):  # of one, a process has none
        found = LinearMetric(rates=rates, epochs=3, batch_size=40)(blobs(), blobs(60, seed=1))
        assert found == pytest.approx(expected[len(rates)])
    torch.distributed.destroy_process_group()


def test_processes_share_the_classifiers():
    expected = {len(rates): LinearMetric(rates=rates, epochs=3, batch_size=40)(blobs(), blobs(60, seed=1))
                for rates in ((0.01, 0.1, 0.3), (0.3, ))}
    run_ranks(_as_rank, 2, expected)


def probe(backbone: dict, **kwargs) -> LinearProbe:
    with DefaultScope.overwrite_default_scope('mmdssl'):
        return MODELS.build(dict(type='mmdssl.LinearProbe', backbone=backbone, num_classes=2, **kwargs))


RESNET = dict(type='mmdssl.TimmBackbone', name='resnet18', model_args=dict(layers=[1, 1, 1, 1], channels=[8, 8, 8, 16]))


@pytest.mark.parametrize('kind', ['vit', 'resnet'])
def test_the_backbone_stays_bit_for_bit_as_it_is(kind, tiny_backbone, make_views):
    """Through steps of training with decay, dropping paths and batch statistics of its own, if it would."""
    backbone = dict(tiny_backbone, drop_path_rate=0.5) if kind == 'vit' else RESNET
    extractor = dict(blocks=2, read='class') if kind == 'vit' else None
    model = probe(backbone, extractor=extractor, rates=(0.1, 1.), norm=[False, True])
    before = copy.deepcopy(model.state_dict())
    wrapper = OptimWrapperConstructor(dict(optimizer=dict(type='SGD', momentum=0.9, weight_decay=0.1)))(model)
    assert [group['lr'] for group in wrapper.optimizer.param_groups] == [0.1, 1., 0.1, 1.]
    assert wrapper.get_lr() == dict(lr=[1.])
    model.train()
    views = make_views(masked=False, local=False, num=1, labels=True)
    for _ in range(3):
        wrapper.update_params(model(views)['loss_cls'])
    after = model.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith('heads.') for name in changed)
    images = views['global'].images[0]
    torch.testing.assert_close(model.scores(images)[:, 1], F.linear(
        model.extractor(model.backbone, images), after['heads.linear.1.weight'], after['heads.linear.1.bias']))


def test_what_a_probe_cannot_read_is_said(tiny_backbone):
    assert probe(tiny_backbone, extractor=dict(blocks=2, read='class+mean')).heads.linear[0].in_features == 48
    with pytest.raises(InputError, match='vector per image'):
        probe(tiny_backbone, extractor=dict(read='patches'))
    with pytest.raises(InputError, match='blocks=4'):
        probe(tiny_backbone, extractor=dict(blocks=4, read='class'))
    with pytest.raises(InputError, match='no class token'):
        probe(RESNET, extractor=dict(read='class'))
    with pytest.raises(InputError, match='rates'):
        probe(tiny_backbone, rates=[])
