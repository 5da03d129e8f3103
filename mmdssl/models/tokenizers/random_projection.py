"""A tokenizer that needs no training (BEST-RQ, Chiu et al., ICML 2022)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdssl.models.layers.targets import patchify
from mmdssl.registry import MODELS

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's pixels


@MODELS.register_module()
class RandomProjectionTokenizer(nn.Module):
    """Projects the centred pixels of a patch by a fixed random matrix and takes the nearest of fixed random directions.

    Args:
        num_codes: Their number.
        stride: Side of a patch in pixels.
        dim: Width of the projection.
        seed: Of both; the same everywhere, whatever else was drawn before.
    """

    def __init__(self, num_codes: int = 8192, stride: int = 8, dim: int = 16, seed: int = 0):
        super().__init__()
        self.num_codes = num_codes
        self.stride = stride
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer('projection', torch.randn(3 * stride**2, dim, generator=generator) / (3 * stride**2)**0.5)
        self.register_buffer('codes', F.normalize(torch.randn(num_codes, dim, generator=generator), dim=1))

    @torch.no_grad()
    def tokenize(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in 0..1 to codes ``(B, H / stride, W / stride)``."""
        patches = patchify(images - images.new_tensor(MEAN).view(3, 1, 1), self.stride)
        nearest = (patches @ self.projection @ self.codes.T).argmax(-1)
        return nearest.unflatten(1, [side // self.stride for side in images.shape[-2:]])
