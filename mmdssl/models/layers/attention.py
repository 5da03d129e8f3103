"""Transformer blocks in which query tokens read the image and the image never reads the queries."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor

from mmdssl.models.layers.drop_path import add_branch, draw, scaled
from mmdssl.models.layers.windows import Windows

QUERY_KEYS = ('image', 'patches', 'image+queries', 'bidirectional')


class QueryAttention(Attention):
    """Self-attention of the image tokens and cross-attention of queries, without a parameter of its own.

    The sequence is ``[CLS, N patches, Q queries]``. Queries are computed for every token, keys and values only for the tokens
    that somebody reads; one attention call then gives Eq. 4 and Eq. 5 of ADCLR (Eq. 6 of PQCL) together.
    """

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', readable: Tensor | None = None,
                read: int | Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, D)`` tokens, the last ``num_queries`` of them queries.
            num_queries: Q.
            query_keys: What a query reads: ``'image'``, CLS and patches (both papers); ``'patches'``, without CLS (ADCLR's
                pseudo-code); ``'image+queries'``, queries too (PQCL's release); ``'bidirectional'``, everybody reads everybody
                (the ablation of ADCLR's Theorem 1).
            readable: Without queries, who reads whom (bool) or what is added to the logits, broadcast to ``(B, heads, L, L)``.
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
            weight, bias = self.qkv.weight, self.qkv.bias
            q_bias, kv_bias = (None, None) if bias is None else (bias[:dim], bias[dim:])
            q = F.linear(x[:, :first], weight[:dim], q_bias)
            k, v = F.linear(x[:, :num_keys], weight[dim:], kv_bias).chunk(2, dim=-1)
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
        x = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, readable, dropout)
        return self.proj_drop(self.proj(rows_of(x.transpose(1, 2).flatten(2), read)))

    def class_attention(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention of CLS, the first token, to all, ``(B, heads, L)``, for pictures; ``bias`` ``(heads, L, L)`` is added."""
        q, k, _ = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q[:, :, :1]), self.k_norm(k)
        logits = q @ k.transpose(-2, -1) * self.scale
        return (logits if bias is None else logits + bias[:, :1]).softmax(dim=-1)[:, :, 0]


class QueryBlock(Block):
    """timm's transformer block around :class:`QueryAttention`.

    One stochastic-depth decision per sample serves all its tokens, queries included.

    Args:
        *args: timm's.
        drop_path_subset: See :func:`mmdssl.models.layers.drop_path.draw`.
        **kwargs: timm's.
    """

    def __init__(self, *args, drop_path_subset: bool = False, **kwargs):
        super().__init__(*args, attn_layer=QueryAttention, **kwargs)
        self.drop_path_subset = drop_path_subset

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', bias: Tensor | None = None,
                windows: Windows | None = None, read: int | Tensor | None = None) -> Tensor:
        """
        Args:
            x: ``(B, L, D)``.
            num_queries: As in :meth:`QueryAttention.forward`.
            query_keys: The same.
            bias: Added to the attention logits, ``(heads, L, L)``; not with queries.
            windows: Attend within windows; not with queries or a bias.
            read: The only tokens that are needed and returned, see :func:`rows_of`; not with windows.
        """

        def attend(x: Tensor) -> Tensor:
            if windows is None:
                return self.ls1(self.attn(self.norm1(x), num_queries, query_keys, bias, read))
            num_prefix = x.shape[1] - windows.grid[0] * windows.grid[1]
            attended = self.attn(windows.split(self.norm1(x), num_prefix), readable=windows.readable(len(x), num_prefix))
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
