"""Fixtures for all tests: one thread, one seed, a tiny backbone, synthetic views."""
from __future__ import annotations

import pytest
import torch

from mmdssl.datasets.views import ViewGroup, Views

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_backbone() -> dict:
    """Config of a ViT of two blocks of width 16 that sees a 32 px image as 4 x 4 patches."""
    arch = dict(embed_dim=16, depth=2, num_heads=2)
    return dict(type='mmdssl.VisionTransformer', arch=arch, patch_size=8, img_size=32)


@pytest.fixture
def make_views():
    """Function that makes a batch of views of random normalised pixels, boxes and flips.

    Two global views of 32 px, two local ones of 16 px, ``query=(number, size)``. Where masked, the first view of the
    first image has no masked patch, the second view of the second image a single one.
    """

    def make(batch_size: int = 3, masked: bool = True, local: bool = True, query: tuple[int, int] | None = None):
        def group(number: int, size: int) -> ViewGroup:
            boxes = torch.rand(number, 4) * 40 + 10
            return ViewGroup(torch.randn(number, 3, size, size), boxes, torch.rand(number) > 0.5)

        samples = []
        for index in range(batch_size):
            groups = {'global': group(2, 32)}
            if masked:
                masks = torch.rand(2, 4, 4) > 0.6
                if index == 0:
                    masks[0] = False
                if index == 1:
                    masks[1] = torch.arange(16).view(4, 4) == 9
                groups['global'].masks = masks
            if local:
                groups['local'] = group(2, 16)
            if query:
                groups['query'] = group(*query)
            samples.append(Views(groups, torch.tensor(index)))
        return Views.collate(samples)

    return make
