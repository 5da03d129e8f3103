"""Transformer blocks in which query tokens read the image and the image never reads the queries."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Attention, SwiGLU
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmdssl.models.layers.windows import Windows

QUERY_KEYS = ('image', 'patches', 'image+queries', 'bidirectional')


class AttentionPosition(NamedTuple):
    """What attention is told of where tokens are, besides what was added to them; by default nothing.

    Attributes:
        bias: Added to the logits, ``(heads, L, L)``.
        rotation: Sines and cosines of the angles by which queries and keys of the last N tokens are turned, ``(2, ..., N, D / heads)``,
            broadcast against ``(B, heads, N, D / heads)``.
    """
    bias: Tensor | None = None
    rotation: Tensor | None = None


NOWHERE = AttentionPosition()


def turned(x: Tensor, rotation: Tensor | None) -> Tensor:
    """Turn the last N of tokens ``(B, heads, L, D)``, each channel of the first half with its channel of the second (RoPE)."""
    if rotation is None:
        return x
    num_still = x.shape[-2] - rotation.shape[-2]
    still, moved, (sin, cos) = x[..., :num_still, :], x[..., num_still:, :], rotation
    first, second = moved.chunk(2, dim=-1)
    moved = moved * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([still, moved.to(x.dtype)], dim=-2)


class KeyBiasFree(nn.Linear):
    """Query, key and value, stacked, of tokens; of the bias, the part of the keys is there and plays no part (DINOv3)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.used_bias())

    def used_bias(self) -> Tensor:
        q, k, v = self.bias.chunk(3)
        return torch.cat([q, torch.zeros_like(k), v])


class QueryAttention(Attention):
    """Self-attention of the image tokens and cross-attention of queries, without a parameter of its own.

    The sequence is ``[CLS, N patches, Q queries]``. Queries are computed for every token, keys and values only for the tokens
    that somebody reads; one attention call then gives Eq. 4 and Eq. 5 of ADCLR (Eq. 6 of PQCL) together.
    """

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', readable: Tensor | None = None,
                rotation: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, D)`` tokens, the last ``num_queries`` of them queries.
            num_queries: Q.
            query_keys: What a query reads: ``'image'``, CLS and patches (both papers); ``'patches'``, without CLS (ADCLR's
                pseudo-code); ``'image+queries'``, queries too (PQCL's release); ``'bidirectional'``, everybody reads everybody
                (the ablation of ADCLR's Theorem 1).
            readable: Without queries, who reads whom (bool) or what is added to the logits, broadcast to ``(B, heads, L, L)``.
            rotation: Without queries, see :class:`AttentionPosition`.

        Returns:
            ``(B, L, D)``.
        """
        length, dim = x.shape[1:]
        num_image = length - num_queries
        num_keys = num_image if query_keys in ('image', 'patches') else length
        if num_keys == length:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            weight, bias = self.qkv.weight, self.qkv.used_bias() if isinstance(self.qkv, KeyBiasFree) else self.qkv.bias
            q_bias, kv_bias = (None, None) if bias is None else (bias[:dim], bias[dim:])
            q = F.linear(x, weight[:dim], q_bias)
            k, v = F.linear(x[:, :num_keys], weight[dim:], kv_bias).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        if num_queries and query_keys in ('patches', 'image+queries'):
            readable = torch.ones(length, num_keys, dtype=torch.bool, device=x.device)
            if query_keys == 'patches':
                readable[num_image:, 0] = False
            else:
                readable[:num_image, num_image:] = False
        if readable is not None and readable.is_floating_point():
            readable = readable.to(q.dtype)
        dropout = self.attn_drop.p if self.training else 0.
        q, k = turned(self.q_norm(q), rotation), turned(self.k_norm(k), rotation)
        x = F.scaled_dot_product_attention(q, k, v, readable, dropout)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))

    def class_attention(self, x: Tensor, position: AttentionPosition = NOWHERE) -> Tensor:
        """Attention of CLS, the first token, which is not turned, to all, ``(B, heads, L)``, for pictures."""
        q, k, _ = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q[:, :, :1]), turned(self.k_norm(k), position.rotation)
        logits = q @ k.transpose(-2, -1) * self.scale
        return (logits if position.bias is None else logits + position.bias[:, :1]).softmax(dim=-1)[:, :, 0]


class QueryBlock(Block):
    """timm's transformer block around :class:`QueryAttention`.

    One stochastic-depth decision per sample serves all its tokens, queries included.

    Args:
        dim: Width of a token.
        num_heads: Of the attention.
        mlp: ``'gelu'``, or ``'swiglu'``, whose gate is a matrix of its own.
        key_bias: Whether keys have a bias.
        kwargs: Further arguments of timm's.
    """

    def __init__(self, dim: int, num_heads: int, mlp: str = 'gelu', key_bias: bool = True, **kwargs):
        kinds = dict(gelu=dict(), swiglu=dict(mlp_layer=SwiGLU, act_layer=nn.SiLU))
        super().__init__(dim, num_heads, attn_layer=QueryAttention, **kinds[mlp], **kwargs)
        if not key_bias:
            self.attn.qkv = KeyBiasFree(dim, 3 * dim)

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image',
                position: AttentionPosition = NOWHERE, windows: Windows | None = None) -> Tensor:
        """
        Args:
            x: ``(B, L, D)``.
            num_queries: As in :meth:`QueryAttention.forward`.
            query_keys: The same.
            position: What the attention is told of where tokens are; nothing with queries.
            windows: Attend within windows; not with queries or a bias.
        """
        if windows is None:
            attended = self.attn(self.norm1(x), num_queries, query_keys, *position)
        else:
            num_prefix = x.shape[1] - windows.grid[0] * windows.grid[1]
            rotation = None if position.rotation is None else windows.split_rotation(position.rotation, len(x))
            attended = self.attn(windows.split(self.norm1(x), num_prefix), readable=windows.readable(len(x), num_prefix), rotation=rotation)
            attended = windows.merge(attended, num_prefix)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
