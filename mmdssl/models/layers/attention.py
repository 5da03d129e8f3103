"""Transformer blocks in which query tokens read the image and the image never reads the queries."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor

from mmdssl.models.layers.windows import Windows

QUERY_KEYS = ('image', 'patches', 'image+queries', 'bidirectional')


class QueryAttention(Attention):
    """Self-attention of the image tokens and cross-attention of queries, without a parameter of its own.

    The sequence is ``[CLS, N patches, Q queries]``. Queries are computed for every token, keys and values only for the tokens
    that somebody reads; one attention call then gives Eq. 4 and Eq. 5 of ADCLR (Eq. 6 of PQCL) together.
    """

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', readable: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, L, D)`` tokens, the last ``num_queries`` of them queries.
            num_queries: Q.
            query_keys: What a query reads: ``'image'``, CLS and patches (both papers); ``'patches'``, without CLS (ADCLR's
                pseudo-code); ``'image+queries'``, queries too (PQCL's release); ``'bidirectional'``, everybody reads everybody
                (the ablation of ADCLR's Theorem 1).
            readable: Without queries, who reads whom (bool) or what is added to the logits, broadcast to ``(B, heads, L, L)``.

        Returns:
            ``(B, L, D)``.
        """
        length, dim = x.shape[1:]
        num_image = length - num_queries
        num_keys = num_image if query_keys in ('image', 'patches') else length
        if num_keys == length:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
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
        x = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, readable, dropout)
        return self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))

    def class_attention(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention of CLS, the first token, to all, ``(B, heads, L)``, for pictures; ``bias`` ``(heads, L, L)`` is added."""
        q, k, _ = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q[:, :, :1]), self.k_norm(k)
        logits = q @ k.transpose(-2, -1) * self.scale
        return (logits if bias is None else logits + bias[:, :1]).softmax(dim=-1)[:, :, 0]


class QueryBlock(Block):
    """timm's transformer block around :class:`QueryAttention`.

    One stochastic-depth decision per sample serves all its tokens, queries included.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, attn_layer=QueryAttention, **kwargs)

    def forward(self, x: Tensor, num_queries: int = 0, query_keys: str = 'image', bias: Tensor | None = None,
                windows: Windows | None = None) -> Tensor:
        """
        Args:
            x: ``(B, L, D)``.
            num_queries: As in :meth:`QueryAttention.forward`.
            query_keys: The same.
            bias: Added to the attention logits, ``(heads, L, L)``; not with queries.
            windows: Attend within windows; not with queries or a bias.
        """
        if windows is None:
            attended = self.attn(self.norm1(x), num_queries, query_keys, bias)
        else:
            num_prefix = x.shape[1] - windows.grid[0] * windows.grid[1]
            attended = self.attn(windows.split(self.norm1(x), num_prefix), readable=windows.readable(len(x), num_prefix))
            attended = windows.merge(attended, num_prefix)
        x = x + self.drop_path1(self.ls1(attended))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
