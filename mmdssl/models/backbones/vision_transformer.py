"""The one vision transformer, for pretraining and for downstream tasks."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from mmdssl.errors import InputError
from mmdssl.models.layers.attention import QUERY_KEYS, QueryBlock
from mmdssl.models.layers.position import resize_table, sincos2d, stretched_grid
from mmdssl.registry import MODELS

ARCHITECTURES = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
}


class Tokens(NamedTuple):
    """Output of :meth:`VisionTransformer.forward_tokens`, after the final norm.

    Attributes:
        cls: Class token, ``(B, D)``.
        patches: Patch tokens, row-major, ``(B, N, D)``.
        queries: Query tokens, ``(B, Q, D)``; Q is 0 where there were none.
    """
    cls: Tensor
    patches: Tensor
    queries: Tensor


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """Vision transformer on timm's blocks, with timm's parameter names.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, or ``dict(embed_dim=..., depth=..., num_heads=...)``.
        patch_size: Side of a patch in pixels.
        img_size: Side in pixels of the images whose patch grid is the frame of the positions.
        position: ``'learnable'``, a table of the frame's size with a slot for CLS; or ``'sincos'``, fixed, evaluated at real
            coordinates, zero for CLS.
        position_rule: How a learnable table is resized for other inputs, see
            :func:`mmdssl.models.layers.position.resize_table`.
        mask_token: Own a learnable token that replaces masked patches and starts positional queries.
        query_keys: What queries read, see :class:`mmdssl.models.layers.attention.QueryAttention`.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        mlp_ratio: Width of the MLPs over ``embed_dim``.
        layer_scale: Initial value of LayerScale; None for none.
        out_indices: Blocks whose patch tokens :meth:`forward` returns; negative ones count from the end.
        out_norm: Apply the final norm to those maps.
        init_cfg: MMEngine's.
    """

    def __init__(self, arch: str | dict = 'small', patch_size: int = 16, img_size: int = 224, position: str = 'learnable',
                 position_rule: str = 'size', mask_token: bool = False, query_keys: str = 'image',
                 drop_path_rate: float = 0., mlp_ratio: float = 4., layer_scale: float | None = None,
                 out_indices: Sequence[int] = (-1, ), out_norm: bool = True, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if isinstance(arch, str):
            if arch not in ARCHITECTURES:
                raise InputError(f'unknown arch {arch!r}: use one of {", ".join(ARCHITECTURES)} or a dict of sizes')
            arch = ARCHITECTURES[arch]
        if set(arch) != set(ARCHITECTURES['tiny']):
            raise InputError(f'arch has the keys {", ".join(arch)}: it needs embed_dim, depth and num_heads, and reads no other')
        if img_size % patch_size:
            raise InputError(f'img_size {img_size} is not a multiple of patch_size {patch_size}: change one of them')
        if position not in ('learnable', 'sincos'):
            raise InputError(f"position is 'learnable' or 'sincos', got {position!r}")
        if query_keys not in QUERY_KEYS:
            raise InputError(f'query_keys is one of {", ".join(QUERY_KEYS)}, got {query_keys!r}')
        dim, depth, num_heads = arch['embed_dim'], arch['depth'], arch['num_heads']
        if dim % num_heads:
            raise InputError(f'embed_dim {dim} cannot be cut into {num_heads} heads: change one of them')
        self.embed_dim = dim
        self.patch_size = patch_size
        self.frame = (img_size // patch_size, ) * 2
        self.position_rule = position_rule
        self.query_keys = query_keys
        self.out_indices = sorted(i % depth for i in out_indices)
        self.out_norm = out_norm

        self.patch_embed = PatchEmbed(img_size, patch_size, 3, dim, strict_img_size=False, dynamic_img_pad=True)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        num_positions = 1 + self.frame[0] * self.frame[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_positions, dim)) if position == 'learnable' else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim)) if mask_token else None
        self.blocks = nn.ModuleList(
            QueryBlock(dim, num_heads, mlp_ratio, qkv_bias=True, init_values=layer_scale, drop_path=rate,
                       norm_layer=partial(nn.LayerNorm, eps=1e-6))
            for rate in torch.linspace(0, drop_path_rate, depth).tolist())
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        """DINO's initialisation; the patch projection keeps the framework's, the mask token its zeros."""
        trunc_normal_(self.cls_token, std=.02)
        if self.pos_embed is not None:
            trunc_normal_(self.pos_embed, std=.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=.02)
                nn.init.zeros_(module.bias)

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Patches ``(h, w)`` of images ``(..., H, W)``; a side that is no multiple of the patch is padded with zeros."""
        return tuple(-(-side // self.patch_size) for side in images.shape[-2:])

    def positions(self, grid: tuple[int, int], coordinates: Tensor | None = None) -> tuple[Tensor | float, Tensor]:
        """Position embeddings of CLS and of the patches of a grid, the latter ``(1, N, D)``.

        Args:
            grid: Patches ``(h, w)``.
            coordinates: ``(N, 2)`` to use instead of the grid stretched over the frame; sin-cos positions only.
        """
        if self.pos_embed is not None:
            table = resize_table(self.pos_embed[:, 1:], grid, self.position_rule)
            return self.pos_embed[:, :1], table.to(self.pos_embed.dtype)
        if coordinates is None:
            coordinates = stretched_grid(grid, self.frame, self.cls_token.device)
        return 0., sincos2d(*coordinates.unbind(-1), self.embed_dim)[None].to(self.cls_token.dtype)

    def embed(self, images: Tensor, mask: Tensor | None = None, coordinates: Tensor | None = None) -> Tensor:
        """Images ``(B, 3, H, W)`` to the sequence ``(B, 1+N, D)`` with positions, masked patches replaced."""
        cls_position, patch_positions = self.positions(self.grid_of(images), coordinates)
        patches = self.patch_embed(images)
        if mask is not None:
            if mask.shape != patches.shape[:2]:
                raise InputError(f'masks of shape {tuple(mask.shape)} do not fit patches {tuple(patches.shape[:2])}: the '
                                 "mask's patch_size must be the backbone's")
            patches = torch.where(mask[..., None], self._mask_token(), patches)
        cls = (self.cls_token + cls_position).expand(len(images), -1, -1)
        return torch.cat([cls, patches + patch_positions], dim=1)

    def _mask_token(self) -> Tensor:
        if self.mask_token is None:
            raise InputError('masked patches and positional queries need backbone.mask_token=True')
        return self.mask_token

    def embed_query_pixels(self, crops: Tensor) -> Tensor:
        """ADCLR's queries: crops ``(B, Q, 3, P, P)`` of one patch each to tokens ``(B, Q, D)``, without a position."""
        if crops.shape[-1] != self.patch_size:
            raise InputError(f'pixel queries are {crops.shape[-1]} px, a patch is {self.patch_size} px: set the size of the '
                             'query views to patch_size')
        return self.patch_embed(crops.flatten(0, 1)).unflatten(0, crops.shape[:2]).squeeze(2)

    def embed_query_positions(self, coordinates: Tensor) -> Tensor:
        """PQCL's queries: coordinates ``(B, Q, 2)`` in the frame of each image to tokens ``m + w``, ``(B, Q, D)``."""
        if self.pos_embed is not None:
            raise InputError("positional queries need backbone.position='sincos', which is defined between the patches")
        return self._mask_token() + sincos2d(*coordinates.unbind(-1), self.embed_dim)

    def forward_tokens(self, images: Tensor, mask: Tensor | None = None, queries: Tensor | None = None,
                       coordinates: Tensor | None = None) -> Tokens:
        """Run the network for pretraining.

        Args:
            images: ``(B, 3, H, W)``, any size.
            mask: ``(B, N)`` bool, patches to replace by the mask token.
            queries: ``(B, Q, D)`` embedded queries.
            coordinates: ``(N, 2)`` positions of the patches, see :meth:`positions`.
        """
        x = self.embed(images, mask, coordinates)
        num_queries = 0
        if queries is not None:
            num_queries = queries.shape[1]
            x = torch.cat([x, queries], dim=1)
        for block in self.blocks:
            x = block(x, num_queries, self.query_keys)
        x = self.norm(x)
        num_image = x.shape[1] - num_queries
        return Tokens(x[:, 0], x[:, 1:num_image], x[:, num_image:])

    def features(self, images: Tensor) -> Tensor:
        """One vector per image, the class token after the final norm, ``(B, D)``."""
        return self.forward_tokens(images).cls

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps ``(B, D, h, w)`` of the blocks of ``out_indices``, stride ``patch_size``."""
        grid, maps = self.grid_of(images), []
        x = self.embed(images)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.out_indices:
                patches = (self.norm(x) if self.out_norm else x)[:, 1:]
                maps.append(patches.transpose(1, 2).unflatten(2, grid))
        return tuple(maps)

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> Tensor:
        """Attention of CLS to the patches in the last block, one map per head, ``(B, heads, h, w)``."""
        x = self.embed(images)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        return last.attn.class_attention(last.norm1(x)).unflatten(2, self.grid_of(images))
