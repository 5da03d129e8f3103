"""A decoder of transformer blocks, which tells what was at the patches that the encoder did not see."""
from __future__ import annotations

from functools import partial

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmdssl.models.layers.position import sincos2d
from mmdssl.registry import MODELS


@MODELS.register_module()
class Decoder(nn.Module):
    """MAE's decoder: mask tokens take the places of the patches that are not there, positions are added, blocks follow.

    Args:
        in_dim: Width of the encoder's tokens.
        out_dim: Values to predict per patch.
        embed_dim: Width of the decoder.
        depth: Its blocks; 0 for none.
        num_heads: Of their attention.
        mlp_ratio: Width of their MLPs over ``embed_dim``.
    """

    def __init__(self, in_dim: int, out_dim: int, embed_dim: int = 512, depth: int = 8, num_heads: int = 16, mlp_ratio: float = 4.):
        super().__init__()
        self.embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.predict = nn.Linear(embed_dim, out_dim)
        trunc_normal_(self.mask_token, std=.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, cls: Tensor, patches: Tensor, keep: Tensor, coordinates: Tensor) -> Tensor:
        """Predict all patches.

        Args:
            cls: Class tokens ``(B, D)``, which the blocks read at position zero.
            patches: ``(B, n, D)`` those that the encoder saw.
            keep: ``(B, n)`` where in the image they are.
            coordinates: ``(N, 2)`` of all patches, see :mod:`mmdssl.models.layers.position`.

        Returns:
            ``(B, N, out_dim)`` in the order of the image.
        """
        seen = self.embed(torch.cat([cls[:, None], patches], dim=1))
        everywhere = self.mask_token.to(seen.dtype).expand(len(seen), len(coordinates), -1)
        x = everywhere.scatter(1, keep[..., None].expand(-1, -1, seen.shape[2]), seen[:, 1:])
        x = torch.cat([seen[:, :1], x + sincos2d(*coordinates.unbind(-1), x.shape[2]).to(x.dtype)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.predict(self.norm(x[:, 1:]))
