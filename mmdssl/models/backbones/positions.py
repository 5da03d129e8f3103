"""How a vision transformer knows where its patches are: one class per kind, one interface."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmdssl.errors import InputError
from mmdssl.models.layers.attention import NOWHERE, AttentionPosition
from mmdssl.models.layers.position import relative_bias, relative_table, resize_table, sincos2d, stretched_grid

if TYPE_CHECKING:
    from mmdssl.models.backbones.vision_transformer import VisionTransformer


class NoPosition:
    """No position, and the interface of all kinds.

    An object holds settings alone and serves images of all sizes. What is learned belongs to the backbone, under timm's names, which
    every method is given.
    """

    def table(self, backbone: VisionTransformer) -> nn.Parameter | None:
        """The table ``pos_embed`` of a new backbone, ``(1, CLS + G*G, D)``."""
        return None

    def own(self, backbone: VisionTransformer) -> None:
        """Give a new backbone, whose blocks are there, what else is needed."""

    def embeddings(self, backbone: VisionTransformer, grid: tuple[int, int],
                   coordinates: Tensor | None = None) -> tuple[Tensor | float, Tensor | float]:
        """What is added to CLS, and to the patches ``(1, N, D)`` of a grid ``(h, w)`` or at coordinates ``(N, 2)``."""
        return 0., 0.

    def at(self, backbone: VisionTransformer, coordinates: Tensor) -> Tensor:
        """What is added to positional queries at coordinates ``(..., 2)`` in the frame, ``(..., D)``.

        Raises:
            InputError: These positions are not defined between the patches.
        """
        raise InputError("positional queries need backbone.position='sincos', which is defined between the patches")

    def in_attention(self, backbone: VisionTransformer, grid: tuple[int, int], keep: Tensor | None = None,
                     queries: bool = False) -> list[AttentionPosition]:
        """What the attention of each block is told of a grid.

        Args:
            backbone: Whose they are.
            grid: Patches ``(h, w)``.
            keep: ``(B, n)``, the only patches in the sequence; None for all.
            queries: Whether queries follow.

        Raises:
            InputError: It cannot be told of only some patches, or of queries.
        """
        return [NOWHERE] * len(backbone.blocks)


class Learnable(NoPosition):
    """A table of the frame's size with a slot for CLS, resized for other grids.

    Args:
        rule: See :func:`mmdssl.models.layers.position.resize_table`.
    """

    def __init__(self, rule: str = 'size'):
        self.rule = rule

    def table(self, backbone: VisionTransformer) -> nn.Parameter:
        num_positions = int(backbone.cls_token is not None) + backbone.frame[0] * backbone.frame[1]
        return nn.Parameter(torch.zeros(1, num_positions, backbone.embed_dim))

    def embeddings(self, backbone: VisionTransformer, grid: tuple[int, int],
                   coordinates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        num_class, table = int(backbone.cls_token is not None), backbone.pos_embed
        return table[:, :num_class], resize_table(table[:, num_class:], grid, self.rule).to(table.dtype)


class SinCos(NoPosition):
    """Fixed, evaluated at real coordinates, zero for CLS; other grids are stretched over the frame."""

    def embeddings(self, backbone: VisionTransformer, grid: tuple[int, int],
                   coordinates: Tensor | None = None) -> tuple[float, Tensor]:
        weight = backbone.patch_embed.proj.weight
        if coordinates is None:
            coordinates = stretched_grid(grid, backbone.frame, weight.device)
        return 0., self.at(backbone, coordinates)[None].to(weight.dtype)

    def at(self, backbone: VisionTransformer, coordinates: Tensor) -> Tensor:
        return sincos2d(*coordinates.unbind(-1), backbone.embed_dim)


def rotary_periods(head_dim: int, base: float = 100.) -> Tensor:
    """DINOv3's periods ``(head_dim / 4, )``, in half sides of an image: from 1 to ``base``, which is left out."""
    if head_dim % 4:
        raise InputError(f'rotary positions need heads whose width is a multiple of 4, got {head_dim}: choose another num_heads')
    return base ** (2 * torch.arange(head_dim // 4, dtype=torch.float32) / (head_dim // 2))


class Rotary(NoPosition):
    """Queries and keys of patches are turned by where they are (DINOv3).

    Each side of an image reaches from -1 to 1, whatever its size and shape, and patches are at their centres. Half of the planes that
    are turned belong to the row, half to the column; one of period p turns once over p. The periods are kept in the buffer
    ``rope_periods``, for the authors' own are rounded.
    """

    def own(self, backbone: VisionTransformer) -> None:
        backbone.register_buffer('rope_periods', rotary_periods(backbone.embed_dim // backbone.num_heads))

    def in_attention(self, backbone: VisionTransformer, grid: tuple[int, int], keep: Tensor | None = None,
                     queries: bool = False) -> list[AttentionPosition]:
        if queries:
            raise InputError("queries need positions of their own, and position='rotary' has none: set it to 'learnable' or 'sincos'")
        periods = backbone.rope_periods
        periods = periods.to(torch.promote_types(periods.dtype, torch.float32))
        sides = (2 * (torch.arange(0.5, n, device=periods.device, dtype=periods.dtype) / n) - 1 for n in grid)
        places = torch.stack(torch.meshgrid(*sides, indexing='ij'), dim=-1).flatten(0, 1)
        angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)
        rotation = torch.stack([angles.sin(), angles.cos()])  # (2, N, head_dim)
        if keep is not None:
            rotation = rotation[:, keep].unsqueeze(2)  # (2, B, 1, n, head_dim)
        return [AttentionPosition(rotation=rotation)] * len(backbone.blocks)


class RelativeBias(NoPosition):
    """Attention is biased by the distance of two patches (BEiT), beside positions of another kind.

    Args:
        shared: Whether all blocks learn one table.
        beside: What is added to the tokens.
    """

    def __init__(self, shared: bool, beside: NoPosition):
        self.shared = shared
        self.beside = beside

    def table(self, backbone: VisionTransformer) -> nn.Parameter | None:
        return self.beside.table(backbone)

    def own(self, backbone: VisionTransformer) -> None:
        tables = [nn.Parameter(relative_table(backbone.frame, backbone.num_heads)) for _ in backbone.blocks]
        for block, table in zip(backbone.blocks, tables):
            block.attn.relative_position_bias_table = tables[0] if self.shared else table

    def embeddings(self, backbone: VisionTransformer, grid: tuple[int, int],
                   coordinates: Tensor | None = None) -> tuple[Tensor | float, Tensor | float]:
        return self.beside.embeddings(backbone, grid, coordinates)

    def in_attention(self, backbone: VisionTransformer, grid: tuple[int, int], keep: Tensor | None = None,
                     queries: bool = False) -> list[AttentionPosition]:
        if keep is not None:
            raise InputError('patches that are left out of a sequence need position to be learnable or sincos: set relative_position=False')
        if queries:
            raise InputError('queries need positions of their own, and relative_position has none: set it to False')
        tables = [block.attn.relative_position_bias_table for block in backbone.blocks]
        known = {table: AttentionPosition(relative_bias(table, grid, backbone.frame)) for table in dict.fromkeys(tables)}
        return [known[table] for table in tables]
