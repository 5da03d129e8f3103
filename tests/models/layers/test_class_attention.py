"""Class attention and neighbours, one token at a time."""
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from mmdssl.models.layers.class_attention import AggregationHead, similar_neighbours

HEADS = 2


@pytest.fixture
def head() -> AggregationHead:
    head = AggregationHead(8, HEADS).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return head


def aggregate(head: AggregationHead, patches: Tensor) -> Tensor:
    """The class token after it has read patches ``(n, D)``."""
    cls = head.cls_token[0, 0]
    for block in head.cls_blocks:
        def norm(x, of):
            return layer_norm(x, (8, ), of.weight, of.bias, 1e-6)
        attention, width = block.attn, 8 // HEADS
        read = [norm(token, block.norm1) for token in (cls, *patches)]
        query, keys, values = attention.q(read[0]), [attention.k(x) for x in read], [attention.v(x) for x in read]
        out = []
        for h in range(HEADS):
            part = slice(h * width, (h + 1) * width)
            weight = torch.stack([(query[part] @ key[part] / math.sqrt(width)).exp() for key in keys])
            out.append(sum(w * value[part] for w, value in zip(weight / weight.sum(), values)))
        cls = cls + attention.proj(torch.cat(out))
        cls = cls + block.mlp.fc2(gelu(block.mlp.fc1(norm(cls, block.norm2))))
    return layer_norm(cls, (8, ), head.norm.weight, head.norm.bias, 1e-6)


def test_a_class_token_reads_all_patches_or_those_of_its_index(head):
    patches = torch.randn(2, 6, 8, dtype=torch.float64)
    expected = torch.stack([aggregate(head, image)[None] for image in patches])
    torch.testing.assert_close(head(patches), expected)
    index = torch.randint(6, (2, 5, 3))
    expected = torch.stack([torch.stack([aggregate(head, image[row]) for row in rows]) for image, rows in zip(patches, index)])
    torch.testing.assert_close(head(patches, index), expected)


def test_without_blocks_the_token_is_only_normalised():
    head = AggregationHead(8, HEADS, num_blocks=0)
    assert torch.equal(head(torch.randn(3, 4, 8)), head.norm(head.cls_token).expand(3, -1, -1))


@pytest.mark.parametrize('grid', [(3, 3), (4, 6), (5, 3), (2, 2), (2, 5)])
def test_neighbours_are_the_most_similar_around_a_patch_on_a_torus(grid):
    height, width = grid
    patches = torch.randn(2, height * width, 8)
    found = similar_neighbours(patches, grid, 4)
    assert found.shape == (2, height * width, 4)
    for image, rows in zip(patches, found):
        for place in range(height * width):
            row, column = divmod(place, width)
            around = [(row + y) % height * width + (column + x) % width for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y]
            similarity = torch.cosine_similarity(image[place], image[around], dim=-1)
            assert place not in around
            expected = similarity.sort(descending=True).values[:4]
            torch.testing.assert_close(torch.cosine_similarity(image[place], image[rows[place]], dim=-1), expected)
            assert set(rows[place].tolist()) <= set(around)


def test_bf16_finds_neighbours_in_fp32():
    patches = torch.randn(2, 12, 8).bfloat16()
    assert torch.equal(similar_neighbours(patches, (3, 4), 4), similar_neighbours(patches.float(), (3, 4), 4))
