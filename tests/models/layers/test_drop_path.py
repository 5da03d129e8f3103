"""Stochastic depth that skips what it drops, against timm's, which computes all and multiplies."""
from __future__ import annotations

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor

from mmdssl.models.layers.attention import QueryBlock, rows_of
from mmdssl.models.layers.drop_path import Kept, add_branch, draw

DIM, BATCH, LENGTH = 8, 6, 5
SOME = torch.tensor([0, 2, 3, 13, 14, 29])


def computed_in_full(block: QueryBlock, x: Tensor, read: int | Tensor | None) -> Tensor:
    x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
    return rows_of(x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))), read)


def outputs_and_gradients(function, block: QueryBlock, x: Tensor, read: int | Tensor | None) -> list[Tensor]:
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    out = function(x, read)
    out.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in block.parameters()]
    block.zero_grad()
    return [out.detach(), x.grad, *gradients, torch.rand(3)]


@pytest.mark.parametrize('read', [None, 1, SOME], ids=['all', 'class', 'some'])
@pytest.mark.parametrize('rate', [0., 0.3, 0.999])
def test_what_is_skipped_equals_what_is_multiplied_by_zero(rate, read):
    """The same numbers are drawn; where all is dropped, gradients are zero, not None."""
    block = QueryBlock(DIM, 2, qkv_bias=True, drop_path=rate, init_values=0.5).double().train()
    x = torch.randn(BATCH, LENGTH, DIM, dtype=torch.float64)
    actual = outputs_and_gradients(lambda x, read: block(x, read=read), block, x, read)
    expected = outputs_and_gradients(lambda x, read: computed_in_full(block, x, read), block, x, read)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    if rate == 0.999:
        assert not actual[2].any(), 'the norm before an attention that nobody keeps'


def test_a_device_that_must_not_wait_multiplies(monkeypatch):
    block = QueryBlock(DIM, 2, qkv_bias=True, drop_path=0.5).double().train()
    x = torch.randn(BATCH, LENGTH, DIM, dtype=torch.float64)
    here = outputs_and_gradients(lambda x, read: block(x, read=read), block, x, None)
    monkeypatch.setattr('mmdssl.models.layers.attention.draw', lambda *args: draw(*args)._replace(index=None))
    torch.testing.assert_close(outputs_and_gradients(lambda x, read: block(x, read=read), block, x, None), here, rtol=1e-10, atol=1e-10)


def test_in_half_precision_the_numbers_drawn_are_timms():
    for seed in range(5):
        torch.manual_seed(seed)
        kept = draw(torch.zeros(9, 2, DIM), 0.4)
        torch.manual_seed(seed)
        timms = DropPath(0.4).train()(torch.ones(9, 2, DIM, dtype=torch.bfloat16))
        assert kept.index.tolist() == timms[:, 0, 0].nonzero().flatten().tolist()


def test_a_subset_is_of_fixed_size_and_unbiased():
    torch.manual_seed(0)
    x = torch.zeros(10, 2, 3, dtype=torch.float64)
    total, draws = torch.zeros(10), 1000
    for _ in range(draws):
        kept = draw(x, 0.32, subset=True)
        assert len(kept.index) == 7 and kept.weight.sum().item() == pytest.approx(10)
        total += add_branch(x, torch.ones_like, kept)[:, 0, 0]
    deviation = (0.3 / 0.7 / draws)**0.5
    assert (total / draws - 1).abs().max() < 4 * deviation
    assert (total / draws - 1).abs().max() > 0.1 * deviation, 'the same are kept each time'
    assert len(draw(x, 0.01, subset=True).index) == 10 and len(draw(x, 0.999, subset=True).index) == 1


def test_a_subset_skips_what_its_weights_say():
    torch.manual_seed(0)
    x, kept = torch.randn(BATCH, 2, 3).double(), draw(torch.zeros(BATCH, 2, 3).double(), 0.4, subset=True)
    seen = []

    def branch(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part.sin()

    torch.testing.assert_close(add_branch(x, branch, kept), x + x.sin() * kept.weight[:, None, None])
    torch.testing.assert_close(add_branch(x, branch, Kept(kept.weight, None, kept.scale)), x + x.sin() * kept.weight[:, None, None])
    assert seen == [4, 6]


def test_a_branch_is_not_kept_for_the_backward_pass():
    x, branch, kept = torch.zeros(BATCH, 2, 3), torch.ones(4, 2, 3, requires_grad=True), []
    some = draw(x, 0.4, subset=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape), lambda _: None):
        add_branch(x, lambda _: branch, some)
    assert kept == [some.index.shape]
