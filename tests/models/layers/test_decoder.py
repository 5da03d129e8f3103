"""MAE's decoder: what it is told and what it is not."""
from __future__ import annotations

import torch

from mmdssl.models.layers.decoder import Decoder
from mmdssl.models.layers.position import integer_grid


def make() -> tuple[Decoder, tuple[torch.Tensor, ...]]:
    decoder = Decoder(12, 5, embed_dim=16, depth=2, num_heads=2).double()
    keep = torch.tensor([[4, 0, 7], [1, 2, 8]])
    return decoder, (torch.randn(2, 12).double(), torch.randn(2, 3, 12).double(), keep, integer_grid((3, 3)))


def test_tokens_find_their_place_in_any_order():
    decoder, (cls, patches, keep, coordinates) = make()
    predicted = decoder(cls, patches, keep, coordinates)
    assert predicted.shape == (2, 9, 5)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(decoder(cls, patches[:, order], keep[:, order], coordinates), predicted)
    assert not torch.allclose(decoder(cls, patches, keep[:, order], coordinates), predicted)


def test_masked_patches_differ_by_their_positions_alone():
    decoder, (cls, patches, keep, coordinates) = make()
    coordinates = coordinates.clone()
    coordinates[3] = coordinates[5]  # neither is kept
    predicted = decoder(cls, patches, keep, coordinates)
    torch.testing.assert_close(predicted[:, 3], predicted[:, 5])


def test_every_parameter_has_a_gradient():
    decoder, inputs = make()
    decoder(*inputs).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())
    assert decoder.mask_token.std() > 0.01


def test_a_decoder_without_blocks_predicts_each_patch_from_its_own_token():
    decoder = Decoder(12, 5, embed_dim=16, depth=0)
    keep = torch.tensor([[0, 1]])
    patches = torch.randn(1, 2, 12)
    first = decoder(torch.randn(1, 12), patches, keep, integer_grid((2, 2)))
    patches[:, 1] += 1
    second = decoder(torch.randn(1, 12), patches, keep, integer_grid((2, 2)))
    assert torch.equal(first[:, [0, 2, 3]], second[:, [0, 2, 3]]) and not torch.equal(first[:, 1], second[:, 1])
