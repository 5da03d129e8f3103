"""Class tokens that gather what they need from patches."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from timm.models.cait import ClassAttn
from torch import Tensor, nn

from mmdssl.models.losses.distillation import at_least_fp32


class ClassAttention(ClassAttn):
    """timm's attention of a class token (CaiT), for several class tokens that each read patches of their own."""

    def forward(self, cls: Tensor, patches: Tensor, index: Tensor | None = None) -> Tensor:
        """
        Args:
            cls: ``(B, Q, D)``; each reads itself and its patches.
            patches: ``(B, N, D)``.
            index: ``(B, Q, n)``, the patches that each reads; None for all.

        Returns:
            ``(B, Q, D)``.
        """
        q = self.q(cls)[:, :, None]
        # A patch's key and value are the same for everyone who reads it.
        k, v = (torch.cat([part(cls)[:, :, None], _read(part(patches), cls.shape[1], index)], dim=2) for part in (self.k, self.v))
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(2, 3) for t in (q, k, v))  # (B, Q, heads, 1 + n, D / heads)
        return self.proj(F.scaled_dot_product_attention(q, k, v).flatten(2))


def _read(patches: Tensor, num_readers: int, index: Tensor | None) -> Tensor:
    """``(B, N, D)`` to ``(B, Q, n, D)``."""
    if index is None:
        return patches[:, None].expand(-1, num_readers, -1, -1)
    return patches[torch.arange(len(patches), device=patches.device)[:, None, None], index]


class ClassBlock(nn.Module):
    """A transformer block that changes class tokens only; arguments of the call as :meth:`ClassAttention.forward`."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ClassAttention(dim, num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, cls: Tensor, patches: Tensor, index: Tensor | None = None) -> Tensor:
        cls = cls + self.attn(self.norm1(cls), self.norm1(patches), index)
        return cls + self.mlp(self.norm2(cls))


class AggregationHead(nn.Module):
    """SelfPatch's head behind a backbone without class token: one learned token asks, of all patches or of some.

    Args:
        dim: Width of the patches.
        num_heads: Of the attention.
        num_blocks: Blocks of class attention.
        mlp_ratio: Width of their MLPs over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, num_blocks: int = 2, mlp_ratio: float = 4.):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.cls_blocks = nn.ModuleList(ClassBlock(dim, num_heads, mlp_ratio) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        trunc_normal_(self.cls_token, std=.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=.02)
                nn.init.zeros_(module.bias)

    def forward(self, patches: Tensor, index: Tensor | None = None) -> Tensor:
        """Aggregate patches ``(B, N, D)``: those of each row of an index ``(B, Q, n)`` to ``(B, Q, D)``, or all to ``(B, 1, D)``."""
        cls = self.cls_token.expand(len(patches), 1 if index is None else index.shape[1], -1)
        for block in self.cls_blocks:
            cls = block(cls, patches, index)
        return self.norm(cls)


@torch.no_grad()
def similar_neighbours(patches: Tensor, grid: tuple[int, int], number: int) -> Tensor:
    """The most similar, by cosine, of the eight patches around each one; the grid is closed at its borders, like a torus.

    Args:
        patches: ``(B, h * w, D)``, row-major.
        grid: ``(h, w)``.
        number: n, of eight.

    Returns:
        Their places ``(B, h * w, n)``, the most similar first.
    """
    maps = F.normalize(at_least_fp32(patches), dim=-1).unflatten(1, grid)
    places = torch.arange(grid[0] * grid[1], device=patches.device).view(grid)
    around = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    similarity = torch.stack([torch.linalg.vecdot(maps, maps.roll(shift, (1, 2))) for shift in around], dim=-1)
    neighbours = torch.stack([places.roll(shift, (0, 1)) for shift in around], dim=-1)
    best = similarity.topk(number, dim=-1).indices
    return neighbours.expand(len(patches), -1, -1, -1).gather(-1, best).flatten(1, 2)
