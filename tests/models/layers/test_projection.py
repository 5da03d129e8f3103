"""Heads and projectors against loops."""
from __future__ import annotations

import copy
import math

import pytest
import torch

from mmdssl.errors import InputError
from mmdssl.models.layers.projection import DINOHead, MLPProjector, ParallelProjectors


def make_head(**kwargs) -> DINOHead:
    head = DINOHead(8, num_prototypes=7, hidden_dim=10, bottleneck_dim=4, **kwargs)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    return head


def dense(x: list[float], layer: torch.nn.Linear) -> list[float]:
    return [sum(a * b for a, b in zip(row, x)) + bias for row, bias in zip(layer.weight.tolist(), layer.bias.tolist())]


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_head_is_an_mlp_a_unit_vector_and_similarities_to_prototypes(num_layers):
    head = make_head(num_layers=num_layers)
    token = torch.randn(8)
    linears = [m for m in head.mlp if isinstance(m, torch.nn.Linear)]
    assert len(linears) == num_layers
    x = token.tolist()
    for i, layer in enumerate(linears):
        if i:
            x = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
        x = dense(x, layer)
    unit = [v / math.sqrt(sum(u * u for u in x)) for v in x]
    weight = head.last_layer['cls'].parametrizations.weight
    logits = [g * sum(a * b for a, b in zip(v, unit)) / math.sqrt(sum(a * a for a in v))
              for g, v in zip(weight.original0.flatten().tolist(), weight.original1.tolist())]

    bottleneck = head.project(token[None])

    torch.testing.assert_close(bottleneck[0], torch.tensor(unit), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head.score(bottleneck)[0], torch.tensor(logits), rtol=1e-4, atol=1e-6)


def test_score_of_the_mean_is_the_mean_of_the_scores():
    head = make_head()
    bottleneck = head.project(torch.randn(50, 8))
    torch.testing.assert_close(head.score(bottleneck.mean(0)), head.score(bottleneck).mean(0), rtol=1e-5, atol=1e-6)


def test_initialisation():
    head = DINOHead(256, num_prototypes=512, hidden_dim=512, bottleneck_dim=256)
    for layer in head.mlp[::2]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not layer.bias.any()
    weight = head.last_layer['cls'].parametrizations.weight
    assert weight.original0.shape == (512, 1) and (weight.original0 == 1).all()
    torch.testing.assert_close(head.last_layer['cls'].weight.norm(dim=1), torch.ones(512))
    assert weight.original1.abs().max() <= 1 / math.sqrt(256), 'the direction keeps the default of a linear layer'
    assert head.last_layer['cls'].bias is None


@pytest.mark.parametrize('norm_last_layer', [True, False])
def test_length_of_the_prototypes_is_learned_unless_normed(norm_last_layer):
    head = DINOHead(8, num_prototypes=7, norm_last_layer=norm_last_layer)
    weight = head.last_layer['cls'].parametrizations.weight
    assert weight.original0.requires_grad != norm_last_layer
    assert weight.original1.requires_grad


def test_streams_own_prototypes_or_use_the_first_ones():
    head = make_head(streams=('cls', 'patch'))
    bottleneck = head.project(torch.randn(3, 8))
    assert not torch.allclose(head.score(bottleneck, 'cls'), head.score(bottleneck, 'patch'))
    assert torch.equal(head.score(bottleneck, 'query'), head.score(bottleneck, 'cls'))


def test_batch_norm_before_each_activation():
    kinds = [type(m).__name__ for m in make_head(use_bn=True).mlp]
    assert kinds == ['Linear', 'BatchNorm1d', 'GELU', 'Linear', 'BatchNorm1d', 'GELU', 'Linear']


def test_unit_vectors_are_fp32_inside_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        bottleneck = make_head().project(torch.randn(3, 8))
    assert bottleneck.dtype == torch.float32
    torch.testing.assert_close(bottleneck.norm(dim=1), torch.ones(3))


def test_copies_are_independent_and_old_checkpoints_load():
    head = make_head()
    twin = copy.deepcopy(head)
    tokens = torch.randn(3, 8)
    expected = head.score(head.project(tokens))
    torch.testing.assert_close(twin.score(twin.project(tokens)), expected)
    old = {name.replace('parametrizations.weight.original0', 'weight_g')
               .replace('parametrizations.weight.original1', 'weight_v'): v for name, v in head.state_dict().items()}
    assert 'last_layer.cls.weight_g' in old
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(3)
    assert torch.equal(head.score(head.project(tokens)), expected)
    twin.load_state_dict(old)
    torch.testing.assert_close(twin.score(twin.project(tokens)), expected)


@pytest.mark.parametrize('activation', ['gelu', 'relu'])
def test_projector_without_norm_is_an_mlp(activation):
    projector = MLPProjector(8, hidden_dim=10, out_dim=4, activation=activation)
    layers = [m for m in projector if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 3
    token = torch.randn(8)
    x = token.tolist()
    function = {'gelu': lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))), 'relu': lambda v: max(v, 0)}[activation]
    for i, layer in enumerate(layers):
        x = dense([function(v) for v in x] if i else x, layer)
    torch.testing.assert_close(projector(token[None])[0], torch.tensor(x), rtol=1e-4, atol=1e-6)


def test_projector_with_norm_has_it_after_every_linear_layer():
    projector = MLPProjector(8, hidden_dim=10, out_dim=4, activation='relu', norm=True)
    kinds = [type(m).__name__ for m in projector]
    assert kinds == ['Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d']
    assert [m.affine for m in projector if isinstance(m, torch.nn.BatchNorm1d)] == [True, True, False]
    latents = projector(torch.randn(50, 8))
    torch.testing.assert_close(latents.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.var(0, correction=0), torch.ones(4), rtol=0, atol=0.05)


def test_initialisation_and_mistakes_of_the_projector():
    projector = MLPProjector(256, hidden_dim=512, out_dim=128)
    assert [layer.out_features for layer in list(projector)[::2]] == [512, 512, 128]
    for layer in list(projector)[::2]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02) and not layer.bias.any()
    with pytest.raises(InputError, match="MLPProjector has activation='tanh': give 'gelu' or 'relu'"):
        MLPProjector(8, activation='tanh')


@pytest.mark.parametrize('split', [False, True])
def test_projectors_side_by_side(split):
    heads = ParallelProjectors(12, 3, split, hidden_dim=5, out_dim=4, num_layers=2)
    features = torch.randn(6, 12)
    latents = heads(features)
    assert latents.shape == (6, 3, 4)
    for i, head in enumerate(heads):
        torch.testing.assert_close(latents[:, i], head(features[:, 4 * i:4 * i + 4] if split else features))
    assert not torch.equal(heads[0][0].weight, heads[1][0].weight)
