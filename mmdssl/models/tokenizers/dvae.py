"""The encoder of a discrete variational autoencoder (Ramesh et al., ICML 2021)."""
from __future__ import annotations

import math
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdssl.errors import InputError
from mmdssl.registry import MODELS


class ResidualBlock(nn.Sequential):
    """Two convolutions beside an identity."""

    def __init__(self, width: int):
        super().__init__(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@MODELS.register_module()
class DVAEEncoder(BaseModule):
    """A small convolutional network that gives each patch of an image logits over a vocabulary, and so is a tokenizer.

    :class:`mmdssl.models.algorithms.DVAE` trains it, and exports it as its backbone.

    Args:
        num_codes: Size of the vocabulary.
        stride: Side in pixels of what a code stands for, a power of 2.
        width: Channels.
        depth: Residual blocks at the full stride.
        init_cfg: MMEngine's; ``dict(type='SSLPretrained', checkpoint='.../backbone.safetensors')`` loads a trained one.
    """

    def __init__(self, num_codes: int = 8192, stride: int = 8, width: int = 256, depth: int = 2, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        halvings = round(math.log2(stride))
        if halvings < 1 or 2**halvings != stride:
            raise InputError(f'the stride of a DVAEEncoder is 2, 4, 8, 16, ..., got {stride}')
        self.num_codes = num_codes
        self.stride = self.patch_size = stride
        self.embed_dim = width
        channels = [3, *(max(width >> i, 16) for i in reversed(range(1, halvings))), width]
        steps: list[nn.Module] = []
        for before, after in pairwise(channels):
            steps += [*([nn.ReLU()] if steps else []), nn.Conv2d(before, after, 4, stride=2, padding=1)]
        self.trunk = nn.Sequential(*steps, *(ResidualBlock(width) for _ in range(depth)), nn.ReLU())
        # Normalised logits make every code likely somewhere; otherwise a few of them take all patches.
        self.head = nn.Sequential(nn.Conv2d(width, num_codes, 1, bias=False), nn.BatchNorm2d(num_codes, affine=False))

    def maps(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in 0..1 to what the logits are made of, ``(B, width, H / stride, W / stride)``."""
        return self.trunk(images - 0.5)

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in 0..1 to codes ``(B, H / stride, W / stride)``."""
        return self.head(self.maps(images)).argmax(1)

    def features(self, images: Tensor) -> Tensor:
        """The maps, averaged over the image, ``(B, width)``."""
        return self.maps(images).mean((2, 3))
