"""Transformer blocks in which query tokens read the image and the image never reads the queries."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Attention, SwiGLU
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmdssl.models.layers.drop_path import add_branch, draw, scaled
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

    def of(self, index: Tensor) -> AttentionPosition:
        """That of some images of the batch; of any one where there are none."""
        if self.rotation is None or self.rotation.ndim < 5:
            return self
        return self._replace(rotation=self.rotation[:, index] if len(index) else self.rotation[:, :1])


NOWHERE = AttentionPosition()


def turned(x: Tensor, rotation: Tensor | None, length: int) -> Tensor:
    """Turn the last N of ``length`` tokens, of which ``(B, heads, L, D)`` are the first L, each channel of the first half with its
    channel of the second (RoPE)."""
    if rotation is None:
        return x
    num_still = length - rotation.shape[-2]
    still, moved = x[..., :num_still, :], x[..., num_still:, :]
    sin, cos = rotation[..., :moved.shape[-2], :]
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
                rotation: Tensor | None = None, read: int | Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, D)`` tokens, the last ``num_queries`` of them queries.
            num_queries: Q.
            query_keys: What a query reads: ``'image'``, CLS and patches (both papers); ``'patches'``, without CLS (ADCLR's
                pseudo-code); ``'image+queries'``, queries too (PQCL's release); ``'bidirectional'``, everybody reads everybody
                (the ablation of ADCLR's Theorem 1).
            readable: Without queries, who reads whom (bool) or what is added to the logits, broadcast to ``(B, heads, L, L)``.
            rotation: Without queries, see :class:`AttentionPosition`.
            read: The only outputs that are needed, see :func:`rows_of`.

        Returns:
            ``(B, L, D)``, or those of ``read``.
        """
        length, dim = x.shape[1:]
        num_image = length - num_queries
        num_keys = num_image if query_keys in ('image', 'patches') else length
        first = read if isinstance(read, int) else length
        if num_keys == length == first:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            weight, bias = self.qkv.weight, self.qkv.used_bias() if isinstance(self.qkv, KeyBiasFree) else self.qkv.bias
            q_bias, kv_bias = (None, None) if bias is None else (bias[:dim], bias[dim:])
            # A linear layer keeps its input, of a part a copy: so both keep the same parts, and nobody keeps the whole.
            parts = [x] if num_keys == length else [part.contiguous() for part in x.split([num_keys, length - num_keys], dim=1)]
            q = torch.cat([F.linear(part[:, :first], weight[:dim], q_bias) for part in parts], dim=1)
            k, v = F.linear(parts[0], weight[dim:], kv_bias).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        if num_queries and query_keys in ('patches', 'image+queries'):
            readable = torch.ones(length, num_keys, dtype=torch.bool, device=x.device)
            if query_keys == 'patches':
                readable[num_image:, 0] = False
            else:
                readable[:num_image, num_image:] = False
        if readable is not None:
            readable = readable[..., :first, :]
            readable = readable.to(q.dtype) if readable.is_floating_point() else readable
        dropout = self.attn_drop.p if self.training else 0.
        q, k = turned(self.q_norm(q), rotation, length), turned(self.k_norm(k), rotation, num_keys)
        x = F.scaled_dot_product_attention(q, k, v, readable, dropout)
        return self.proj_drop(self.proj(rows_of(x.transpose(1, 2).flatten(2), read)))

    def class_attention(self, x: Tensor, position: AttentionPosition = NOWHERE) -> Tensor:
        """Attention of CLS, the first token, which is not turned, to all, ``(B, heads, L)``, for pictures."""
        q, k, _ = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q[:, :, :1]), turned(self.k_norm(k), position.rotation, x.shape[1])
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
        drop_path_subset: See :func:`mmdssl.models.layers.drop_path.draw`.
        kwargs: Further arguments of timm's.
    """

    def __init__(self, dim: int, num_heads: int, mlp: str = 'gelu', key_bias: bool = True, drop_path_subset: bool = False, **kwargs):
        kinds = dict(gelu=dict(), swiglu=dict(mlp_layer=SwiGLU, act_layer=nn.SiLU))
        super().__init__(dim, num_heads, attn_layer=QueryAttention, **kinds[mlp], **kwargs)
        if not key_bias:
            self.attn.qkv = KeyBiasFree(dim, 3 * dim)
        self.drop_path_subset = drop_path_subset

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', position: AttentionPosition = NOWHERE,
                windows: Windows | None = None, read: int | Tensor | None = None) -> Tensor:
        """
        Args:
            x: ``(B, L, D)``.
            num_queries: As in :meth:`QueryAttention.forward`.
            query_keys: The same.
            position: What the attention is told of where tokens are; nothing with queries.
            windows: Attend within windows; not with queries or a bias.
            read: The only tokens that are needed and returned, see :func:`rows_of`; not with windows.
        """
        batch = len(x)

        def attend(x: Tensor) -> Tensor:
            bias, rotation = position if len(x) == batch else position.of(kept[0].index)
            if windows is None:
                return self.ls1(self.attn(self.norm1(x), num_queries, query_keys, bias, rotation, read))
            num_prefix = x.shape[1] - windows.grid[0] * windows.grid[1]
            rotation = None if rotation is None else windows.split_rotation(rotation, len(x))
            attended = self.attn(windows.split(self.norm1(x), num_prefix), readable=windows.readable(len(x), num_prefix), rotation=rotation)
            return self.ls1(windows.merge(attended, num_prefix))

        def transform(x: Tensor) -> Tensor:
            return self.ls2(self.mlp(self.norm2(x)))

        kept = [draw(x, getattr(drop, 'drop_prob', 0.) if self.training else 0., self.drop_path_subset)
                for drop in (self.drop_path1, self.drop_path2)]
        if isinstance(read, Tensor):
            owner = read // x.shape[1]
            x = rows_of(x, read) + scaled(attend(x), kept[0], owner)
            return x + scaled(transform(x), kept[1], owner)
        x = add_branch(x, attend, kept[0], read)
        return add_branch(x, transform, kept[1])


def rows_of(x: Tensor, read: int | Tensor | None) -> Tensor:
    """Some tokens of ``(B, L, D)``: all; the first so many of each image, ``(B, read, D)``; or the rows of indices into all ``B L``,
    ``(R, D)``."""
    return x if read is None else x[:, :read] if isinstance(read, int) else x.flatten(0, 1)[read]
