"""Losses against loops in float64 over views, crops and tokens, with the log-softmax written out."""
from __future__ import annotations

import math

import pytest
import torch

from mmdssl.models.losses.distillation import Center, cross_entropy, cross_view, masked_patches

K = 11


def probabilities(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape, K) * 3).softmax(-1)


def pair(target: torch.Tensor, logits: torch.Tensor) -> float:
    """``-sum_k p_k log(exp(s_k) / sum_j exp(s_j))``."""
    target, logits = target.double().tolist(), logits.double().tolist()
    total = sum(math.exp(s) for s in logits)
    return -sum(p * math.log(math.exp(s) / total) for p, s in zip(target, logits))


def test_cross_entropy_of_each_row():
    target, logits = probabilities(2, 3), torch.randn(2, 3, K) * 5
    actual = cross_entropy(target, logits)
    assert actual.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert actual[i, j].item() == pytest.approx(pair(target[i, j], logits[i, j]), rel=1e-5)


def test_cross_entropy_broadcasts_the_target():
    target, logits = probabilities(3), torch.randn(4, 3, K)
    actual = cross_entropy(target, logits)
    assert actual.shape == (4, 3)
    torch.testing.assert_close(actual[2], cross_entropy(target, logits[2]))


def test_cross_entropy_is_smallest_at_the_target():
    """There it is the entropy, and its gradient ``softmax(s) - p`` vanishes."""
    target = probabilities(5).double()
    logits = (target.log() + 7).requires_grad_()
    loss = cross_entropy(target, logits).sum()
    loss.backward()
    torch.testing.assert_close(loss, -(target * target.log()).sum())
    torch.testing.assert_close(logits.grad, torch.zeros_like(target))
    other = torch.randn(5, K, dtype=torch.float64, requires_grad=True)
    cross_entropy(target, other).sum().backward()
    torch.testing.assert_close(other.grad, other.detach().softmax(-1) - target)


def plain_entropy(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return -(target * logits.log_softmax(-1)).sum(-1)


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('shape', [(3, ), (4, 3), (2, 4, 3)])
def test_gradients_are_those_of_a_log_softmax_also_where_they_take_the_place_of_the_logits(shape, overwrite):
    target, leaf = probabilities(3).double(), torch.randn(*shape, K, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(*shape, dtype=torch.float64)
    logits = leaf * 3
    before = logits.detach().clone()
    loss = (cross_entropy(target, logits, overwrite) * weights).sum()
    actual, = torch.autograd.grad(loss, leaf, retain_graph=True)
    expected, = torch.autograd.grad((plain_entropy(target, leaf * 3) * weights).sum(), leaf)
    torch.testing.assert_close(actual, expected)
    assert logits.detach().equal(before) is not overwrite
    if overwrite:
        with pytest.raises(RuntimeError, match='modified by an inplace operation'):
            torch.autograd.grad(loss, leaf)


@pytest.mark.parametrize('targets, views', [(1, 3), (2, 2), (2, 7)])
def test_gradients_of_views_are_those_of_a_log_softmax(targets, views):
    target = probabilities(targets, 5).double()
    logits = torch.randn(views, 5, K, dtype=torch.float64, requires_grad=True)
    pairs = [plain_entropy(target[t], logits[v]) for t in range(targets) for v in range(views) if t != v]
    expected, = torch.autograd.grad(torch.stack(pairs).mean(), logits)
    actual, = torch.autograd.grad(cross_view(target, logits), logits)
    torch.testing.assert_close(actual, expected)


def test_what_is_as_wide_as_the_prototypes_is_kept_twice():
    """Logits and targets."""
    kept, logits = [], (torch.randn(2, 3, K, requires_grad=True) + 1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        cross_view(probabilities(2, 3), logits)
    assert sum(numel for numel in kept if numel >= K) == 2 * logits.numel()


def test_cross_entropy_survives_large_logits():
    logits = torch.tensor([[300., -300., 0.]])
    assert cross_entropy(torch.tensor([[0.5, 0.5, 0.]]), logits).item() == pytest.approx(300.)


@pytest.mark.parametrize('targets, views', [(2, 2), (2, 7), (3, 4)])
def test_cross_view_is_the_mean_over_ordered_pairs_of_different_views(targets, views):
    target, logits = probabilities(targets, 5), torch.randn(views, 5, K) * 4
    terms = [pair(target[t, b], logits[v, b]) for t in range(targets) for v in range(views) if t != v for b in range(5)]
    assert len(terms) == targets * (views - 1) * 5
    assert cross_view(target, logits).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_masked_patches_is_the_mean_over_crops_of_the_mean_over_their_masked_patches():
    counts = [3, 0, 1, 6, 0]
    target, logits = probabilities(10), torch.randn(10, K) * 4
    crops, row = [], 0
    for count in counts:
        crops.append(sum(pair(target[row + i], logits[row + i]) for i in range(count)) / max(count, 1))
        row += count
    weight = torch.tensor([1 / count for count in counts for _ in range(count)])
    assert masked_patches(target, logits, weight, len(counts)).item() == pytest.approx(sum(crops) / 5, rel=1e-5)


def test_masked_patches_of_nothing_is_zero():
    logits = torch.randn(0, K, requires_grad=True)
    loss = masked_patches(probabilities(0), logits, torch.ones(0), 4)
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, K)


@pytest.mark.parametrize('loss', [
    lambda p, s: cross_entropy(p, s).mean(),
    lambda p, s: cross_view(p, s),
    lambda p, s: masked_patches(p.flatten(0, 1), s.flatten(0, 1), torch.ones(8), 8),
])
def test_losses_are_fp32_inside_autocast(loss):
    target, logits = probabilities(2, 4), (torch.randn(2, 4, K) * 5).bfloat16()
    expected = loss(target, logits.float())
    with torch.autocast('cpu', torch.bfloat16):
        actual = loss(target, logits)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    assert loss(target.double(), logits.double()).dtype == torch.float64


def test_center_sharpens_and_centers():
    center = Center(K)
    center.center.copy_(torch.randn(K))
    logits = torch.randn(3, K)
    actual = center(logits, 0.04)
    for i in range(3):
        powers = [math.exp((t - c) / 0.04) for t, c in zip(logits[i].tolist(), center.center.tolist())]
        expected = torch.tensor([power / sum(powers) for power in powers])
        torch.testing.assert_close(actual[i], expected, rtol=1e-4, atol=1e-7)


def test_center_is_an_exponential_mean_that_starts_at_zero():
    center, expected = Center(2, momentum=0.9), [0., 0.]
    for mean in ([1., -2.], [3., 0.5], [-1., 4.]):
        center.update(torch.tensor(mean))
        expected = [0.9 * c + 0.1 * m for c, m in zip(expected, mean)]
        torch.testing.assert_close(center.center, torch.tensor(expected))
    assert 'center' in center.state_dict(), 'a resumed run must go on with it'


def test_center_gives_fp32_without_a_gradient():
    logits = torch.randn(3, K, requires_grad=True)
    target = Center(K)(logits.bfloat16(), 0.04)
    assert target.dtype == torch.float32 and not target.requires_grad
