"""Attention of image and query tokens against an explicit softmax, token by token in float64, and ADCLR's Theorem 1."""
from __future__ import annotations

import math

import pytest
import torch
from timm.layers import Attention

from mmdssl.models.layers.attention import QUERY_KEYS, QueryAttention, QueryBlock

DIM, HEADS, PATCHES = 16, 2, 5


def make_attention(**kwargs) -> QueryAttention:
    attention = QueryAttention(DIM, HEADS, **dict(dict(qkv_bias=True), **kwargs)).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def readable(row: int, key: int, num_image: int, query_keys: str) -> bool:
    """Whether the token of a row may read the token of a key: the four settings in words."""
    row_is_query, key_is_query = row >= num_image, key >= num_image
    if query_keys == 'bidirectional':
        return True
    if key_is_query:
        return row_is_query and query_keys == 'image+queries'
    return not (row_is_query and key == 0 and query_keys == 'patches')


def loop(attention: Attention, x: torch.Tensor, num_queries: int, query_keys: str) -> torch.Tensor:
    out, width = torch.zeros_like(x), DIM // HEADS
    q, k, v = (x @ attention.qkv.weight.T + (0 if attention.qkv.bias is None else attention.qkv.bias)).split(DIM, -1)
    num_image = x.shape[1] - num_queries
    for b in range(x.shape[0]):
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            for row in range(x.shape[1]):
                keys = [j for j in range(x.shape[1]) if readable(row, j, num_image, query_keys)]
                powers = [math.exp(float(q[b, row, part] @ k[b, j, part]) / math.sqrt(width)) for j in keys]
                out[b, row, part] = sum(p / sum(powers) * v[b, j, part] for p, j in zip(powers, keys))
    return out @ attention.proj.weight.T + attention.proj.bias


@pytest.mark.parametrize('query_keys', QUERY_KEYS)
@pytest.mark.parametrize('num_queries', [0, 1, 3])
@pytest.mark.parametrize('qkv_bias', [True, False])
@torch.no_grad()
def test_every_token_reads_what_it_may(query_keys, num_queries, qkv_bias):
    attention = make_attention(qkv_bias=qkv_bias)
    x = torch.randn(2, 1 + PATCHES + num_queries, DIM, dtype=torch.float64)
    torch.testing.assert_close(attention(x, num_queries, query_keys), loop(attention, x, num_queries, query_keys),
                               rtol=1e-9, atol=1e-9)


def test_without_queries_it_is_timms_attention():
    ours, timms = make_attention(), Attention(DIM, HEADS, qkv_bias=True).double()
    timms.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    torch.testing.assert_close(ours(x), timms(x))


@pytest.mark.parametrize('query_keys', QUERY_KEYS)
def test_gradient_from_the_image_to_the_queries_is_exactly_zero(query_keys):
    attention = make_attention()
    x = torch.randn(2, 1 + PATCHES + 3, DIM, dtype=torch.float64, requires_grad=True)
    out = attention(x, 3, query_keys)
    gradient, = torch.autograd.grad(out[:, :1 + PATCHES].square().sum(), x)
    assert bool(gradient[:, 1 + PATCHES:].any()) == (query_keys == 'bidirectional')


@pytest.mark.parametrize('query_keys', QUERY_KEYS)
@torch.no_grad()
def test_queries_do_not_depend_on_each_other(query_keys):
    """Unless they are asked to: one alone, or all in another order, comes out the same."""
    attention = make_attention()
    image, queries = torch.randn(1, 1 + PATCHES, DIM).double(), torch.randn(1, 4, DIM).double()
    order = torch.tensor([2, 0, 3, 1])
    together, permuted, alone = (attention(torch.cat([image, q], 1), q.shape[1], query_keys)[:, 1 + PATCHES:]
                                 for q in (queries, queries[:, order], queries[:, 2:3]))
    torch.testing.assert_close(permuted, together[:, order])
    independent = query_keys in ('image', 'patches')
    assert torch.allclose(alone, together[:, 2:3], rtol=1e-9, atol=1e-9) == independent


@torch.no_grad()
def test_theorem_1_many_queries_drown_the_image_unless_attention_is_one_way():
    """Squared difference of the query outputs of two unrelated images given the same queries, mean of 20 seeds."""
    counts = (1, 10, 196, 2000)
    attention = QueryAttention(64, 4, qkv_bias=True)
    distance = {query_keys: torch.zeros(len(counts)) for query_keys in ('image', 'bidirectional')}
    for seed in range(20):
        torch.manual_seed(seed)
        for name, parameter in attention.named_parameters():
            torch.nn.init.normal_(parameter, std=0.125 if 'weight' in name else 0.)
        images = torch.randn(2, 1 + 49, 64)
        for i, count in enumerate(counts):
            x = torch.cat([images, torch.randn(count, 64).expand(2, -1, -1)], dim=1)
            for query_keys, total in distance.items():
                a, b = attention(x, count, query_keys)[:, -count:]
                total[i] += (a - b).square().mean() / 20
    one_way, both_ways = distance['image'], distance['bidirectional']
    assert (one_way / one_way.mean() - 1).abs().max() < 0.1, one_way
    assert both_ways[2] < 0.2 * both_ways[1] and both_ways[3] < 0.02 * both_ways[2], both_ways


@pytest.mark.parametrize('num_queries', [0, 4])
@torch.no_grad()
def test_one_stochastic_depth_decision_serves_all_tokens_of_a_sample(num_queries):
    block = QueryBlock(DIM, HEADS, qkv_bias=True, drop_path=0.5).train()
    block.mlp.fc2.weight.zero_()
    block.mlp.fc2.bias.zero_()
    x = torch.randn(40, 1 + PATCHES + num_queries, DIM)
    torch.manual_seed(1)
    moved = (block(x, num_queries) != x).any(-1)
    assert torch.equal(moved.any(1), moved.all(1)), 'tokens of one sample were treated differently'
    assert 8 < moved[:, 0].sum() < 32
    torch.manual_seed(1)
    without = block(x[:, :1 + PATCHES])
    torch.manual_seed(1)
    torch.testing.assert_close(block(x, num_queries)[:, :1 + PATCHES], without, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_class_attention_is_the_first_row_of_the_softmax():
    attention = make_attention()
    x = torch.randn(2, 1 + PATCHES, DIM, dtype=torch.float64)
    q, k, _ = attention.qkv(x).split(DIM, -1)
    maps = attention.class_attention(x)
    assert maps.shape == (2, HEADS, 1 + PATCHES)
    for b in range(2):
        for head in range(HEADS):
            part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
            scores = [float(q[b, 0, part] @ key) / math.sqrt(DIM / HEADS) for key in k[b, :, part]]
            powers = [math.exp(score) for score in scores]
            torch.testing.assert_close(maps[b, head], torch.tensor(powers, dtype=torch.float64) / sum(powers))
