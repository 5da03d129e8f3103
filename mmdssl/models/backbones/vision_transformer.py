"""The one vision transformer, for pretraining and for downstream tasks."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
from mmengine.model import BaseModule
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmdssl.arguments import NonEmpty, NonNegativeInt, Positive, PositiveInt, Share
from mmdssl.errors import InputError
from mmdssl.models.backbones.positions import Learnable, NoPosition, RelativeBias, Rotary, SinCos
from mmdssl.models.layers.attention import QUERY_KEYS, QueryBlock
from mmdssl.models.layers.feature_pyramid import FeaturePyramid
from mmdssl.models.layers.windows import Windows
from mmdssl.registry import MODELS

ARCHITECTURES = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
}
FACETS = ('query', 'key', 'value')


class Tokens(NamedTuple):
    """Output of :meth:`VisionTransformer.forward_tokens`, after the final norm.

    Attributes:
        cls: Class token, or the mean of the patches of a backbone without one, ``(B, D)``.
        patches: Patch tokens, row-major, ``(B, N, D)``, or only those that were to be read, ``(M, D)``.
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
        position: How patches are told apart by place: ``'learnable'`` (:class:`mmdssl.models.backbones.positions.Learnable`),
            ``'sincos'`` (:class:`mmdssl.models.backbones.positions.SinCos`), ``'rotary'``
            (:class:`mmdssl.models.backbones.positions.Rotary`), or ``'none'``.
        position_rule: How a learnable table is resized for other inputs, see
            :func:`mmdssl.models.layers.position.resize_table`.
        remainder: What becomes of pixels on the right and below that are no whole patch: ``'pad'``, zeros complete them; or ``'cut'``,
            they are left out, as in the code of DINO, iBOT, SelfPatch and PQCL.
        relative_position: Each block adds a learnable bias to its attention by the distance of two patches: True, its own, as BEiT
            fine-tunes; ``'shared'``, the same one in all blocks, as BEiT pretrains.
        class_token: Own a class token. Without one (SelfPatch), the mean of the patches takes its place in the outputs.
        pool: What :meth:`features` gives: ``'cls'``, the class token; or ``'mean'``, the mean of the patches, for methods that do not
            train a class token (MaskFeat, BEiT).
        num_registers: Learnable tokens without position between CLS and the patches (DINOv2).
        mask_token: Own a learnable token that replaces masked patches and starts positional queries.
        query_keys: What queries read, see :class:`mmdssl.models.layers.attention.QueryAttention`.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        drop_path_subset: Drop a fixed number of the samples of a batch, which a GPU then does not compute either, see
            :func:`mmdssl.models.layers.drop_path.draw`. Worth it for large networks with a high rate.
        mlp_ratio: Width of the MLPs over ``embed_dim``.
        mlp: Their kind: ``'gelu'``, or ``'swiglu'``, which is gated (DINOv2's giant, DINOv3).
        key_bias: Whether the keys of attention have a bias, of which rotary positions make a difference (DINOv3 has none).
        norm_eps: Epsilon of all layer norms.
        layer_scale: Initial value of LayerScale; None for none.
        final_norm: Own a layer norm after the last block.
        out_indices: Blocks whose patch tokens :meth:`forward` returns; negative ones count from the end.
        out_norm: Apply the final norm to those maps.
        pyramid: Rescale the maps, four or one, to strides 4, 8, 16 and 32
            (:class:`mmdssl.models.layers.feature_pyramid.FeaturePyramid`).
        window_size: In :meth:`forward`, blocks other than ``global_blocks`` attend within windows of so many patches; None for
            global attention everywhere.
        global_blocks: Blocks with global attention all the same; negative ones count from the end.
        checkpointing: In :meth:`forward`, keep only the inputs of the blocks and compute the rest again in the backward pass.
        frozen: Train nothing but the pyramid; stay in eval mode.
        init: Initial values: ``'dino'``, truncated normal; ``'mocov3'``, uniform ones, of the patch projection too, and a class token
            near zero; ``'moco'``, the same with the framework's patch projection (as timm's, BAM); ``'mae'``, uniform ones, of the
            patch projection too; ``'beit'``, normal ones within one deviation of zero, of the patch projection and of the mask token
            too, and what a block adds is the less the deeper it is.
        frozen_patch_embed: Keep the random values of the patch projection, which steadies training (MoCo v3, BAM).
        init_cfg: MMEngine's; ``dict(type='SSLPretrained', checkpoint=...)`` loads published weights.
    """

    def __init__(self, arch: Literal[tuple(ARCHITECTURES)] | dict[str, PositiveInt] = 'small', patch_size: PositiveInt = 16,
                 img_size: PositiveInt = 224, position: Literal['learnable', 'sincos', 'rotary', 'none'] = 'learnable',
                 position_rule: Literal['size', 'dino', 'antialias'] = 'size', remainder: Literal['pad', 'cut'] = 'pad',
                 relative_position: bool | Literal['shared'] = False,
                 class_token: bool = True, pool: Literal['cls', 'mean'] = 'cls', num_registers: NonNegativeInt = 0,
                 mask_token: bool = False, query_keys: Literal[QUERY_KEYS] = 'image', drop_path_rate: Share = 0.,
                 drop_path_subset: bool = False, mlp_ratio: Positive = 4., mlp: Literal['gelu', 'swiglu'] = 'gelu', key_bias: bool = True,
                 norm_eps: Positive = 1e-6, layer_scale: float | None = None, final_norm: bool = True,
                 out_indices: Annotated[Sequence[int], NonEmpty] = (-1, ), out_norm: bool = True, pyramid: bool = False,
                 window_size: PositiveInt | None = None, global_blocks: Sequence[int] = (), checkpointing: bool = False,
                 frozen: bool = False, init: Literal['dino', 'moco', 'mocov3', 'mae', 'beit'] = 'dino',
                 frozen_patch_embed: bool = False, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if isinstance(arch, str):
            arch = ARCHITECTURES[arch]
        if set(arch) != set(ARCHITECTURES['tiny']):
            raise InputError(f'arch has the keys {", ".join(arch)}: it needs embed_dim, depth and num_heads, and reads no other')
        if img_size % patch_size:
            raise InputError(f'img_size {img_size} is not a multiple of patch_size {patch_size}: change one of them')
        if relative_position and (window_size or not class_token or num_registers):
            raise InputError('relative_position needs a class token, and neither registers nor window_size: change one of them')
        dim, depth, num_heads = arch['embed_dim'], arch['depth'], arch['num_heads']
        if dim % num_heads:
            raise InputError(f'embed_dim {dim} cannot be cut into {num_heads} heads: change one of them')
        wrong = [i for i in (*out_indices, *global_blocks) if not -depth <= i < depth]
        if wrong:
            raise InputError(f'block {wrong[0]} of out_indices or global_blocks is not among the {depth} blocks: they count from 0')
        if pyramid and len(out_indices) not in (1, 4):
            raise InputError(f'a pyramid is made of 4 maps or of 1, out_indices has {len(out_indices)}')
        self.embed_dim = dim
        self.num_heads = num_heads
        self.patch_size = patch_size
        self.frame = (img_size // patch_size, ) * 2
        self.position = position
        self.position_rule = position_rule
        self.remainder = remainder
        self.norm_eps = norm_eps
        self.pool = pool
        self.num_prefix = int(class_token) + num_registers
        self.query_keys = query_keys
        self.out_indices = sorted(i % depth for i in out_indices)
        self.out_norm = out_norm
        self.window_size = window_size
        self.global_blocks = {i % depth for i in global_blocks}
        self.checkpointing = checkpointing
        self.frozen = frozen

        self.patch_embed = PatchEmbed(img_size, patch_size, 3, dim, strict_img_size=False, dynamic_img_pad=True)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, num_registers, dim)) if num_registers else None
        kinds = dict(learnable=partial(Learnable, position_rule), sincos=SinCos, rotary=Rotary, none=NoPosition)
        self.kind = kinds[position]() if not relative_position else RelativeBias(relative_position == 'shared', kinds[position]())
        self.pos_embed = self.kind.table(self)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim)) if mask_token else None
        self.blocks = nn.ModuleList(
            QueryBlock(dim, num_heads, mlp, key_bias, drop_path_subset, mlp_ratio=mlp_ratio, qkv_bias=True, init_values=layer_scale,
                       drop_path=rate, norm_layer=partial(nn.LayerNorm, eps=norm_eps))
            for rate in torch.linspace(0, drop_path_rate, depth, device='cpu').tolist())
        self.kind.own(self)
        self.norm = nn.LayerNorm(dim, eps=norm_eps) if final_norm else nn.Identity()
        self._initialise(init)
        self._freeze()
        if frozen_patch_embed:
            self.patch_embed.requires_grad_(False)
        self.pyramid = FeaturePyramid(dim, patch_size) if pyramid else None

    def _initialise(self, init: str) -> None:
        """The patch projection keeps the framework's initialisation, the mask token its zeros, where ``init`` says nothing else."""
        token_std = 1e-6 if init in ('moco', 'mocov3') else .02
        cut = .02 if init == 'beit' else 2.
        for parameter, std in ((self.cls_token, token_std), (self.reg_token, token_std), (self.pos_embed, .02)):
            if parameter is not None:
                trunc_normal_(parameter, std=std, a=-cut, b=cut)
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                for matrix in module.weight.chunk(3 if name.endswith('qkv') and init != 'mae' else 1):
                    nn.init.xavier_uniform_(matrix) if init in ('moco', 'mocov3', 'mae') else trunc_normal_(matrix, std=.02, a=-cut, b=cut)
                nn.init.zeros_(module.bias)
        projection = self.patch_embed.proj
        if init in ('mae', 'mocov3'):
            nn.init.xavier_uniform_(projection.weight.flatten(1))  # as the matrix that it is
        if init == 'mocov3':
            nn.init.zeros_(projection.bias)
        if init == 'beit':
            for parameter in (projection.weight, *([] if self.mask_token is None else [self.mask_token])):
                trunc_normal_(parameter, std=.02, a=-cut, b=cut)
            nn.init.zeros_(projection.bias)
            for i, block in enumerate(self.blocks, start=1):
                for layer in (block.attn.proj, block.mlp.fc2):
                    layer.weight.data.div_((2 * i)**0.5)

    def _freeze(self) -> None:
        """What :meth:`forward` does not use is not trained: a distributed run waits for the gradient of everything else."""
        unused = [self.blocks[self.out_indices[-1] + 1:], *([] if self.out_norm else [self.norm])]
        for module in [self] if self.frozen else unused:
            module.requires_grad_(False)
        if not self.frozen:  # of which unused blocks may share a table
            self.blocks[0].requires_grad_(True)

    def train(self, mode: bool = True) -> VisionTransformer:
        super().train(mode and not self.frozen)
        if self.pyramid is not None:
            self.pyramid.train(mode)
        return self

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Patches ``(h, w)`` of images ``(..., H, W)``; ``remainder`` decides of a side that is no multiple of the patch."""
        begun = self.patch_size - 1 if self.remainder == 'pad' else 0
        return tuple(max((side + begun) // self.patch_size, 1) for side in images.shape[-2:])

    def positions(self, grid: tuple[int, int], coordinates: Tensor | None = None) -> tuple[Tensor | float, Tensor | float]:
        """Position embeddings of CLS and of the patches of a grid, the latter ``(1, N, D)``; 0 where there are none.

        Args:
            grid: Patches ``(h, w)``.
            coordinates: ``(N, 2)`` to use instead of the grid stretched over the frame; sin-cos positions only.
        """
        return self.kind.embeddings(self, grid, coordinates)

    def embed(self, images: Tensor, mask: Tensor | None = None, coordinates: Tensor | None = None,
              keep: Tensor | None = None) -> Tensor:
        """Images ``(B, 3, H, W)`` to the sequence of CLS, registers and patches with positions, masked patches replaced, or only
        those of ``keep`` there."""
        grid = self.grid_of(images)
        cls_position, patch_positions = self.positions(grid, coordinates)
        height, width = (side * self.patch_size for side in grid)
        patches = self.patch_embed(images[..., :height, :width])
        if mask is not None:
            if mask.shape != patches.shape[:2]:
                raise InputError(f'masks of shape {tuple(mask.shape)} do not fit patches {tuple(patches.shape[:2])}: the '
                                 "mask's patch_size must be the backbone's")
            patches = torch.where(mask[..., None], self._mask_token(), patches)
        patches = patches + patch_positions
        if keep is not None:
            patches = patches.take_along_dim(keep[..., None], dim=1)
        prefix = [] if self.cls_token is None else [self.cls_token + cls_position]
        if self.reg_token is not None:
            prefix.append(self.reg_token)
        return torch.cat([*(token.expand(len(images), -1, -1) for token in prefix), patches], dim=1)

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
        return self._mask_token() + self.kind.at(self, coordinates)

    def forward_tokens(self, images: Tensor, mask: Tensor | None = None, queries: Tensor | None = None,
                       coordinates: Tensor | None = None, keep: Tensor | None = None,
                       read: Tensor | Literal['cls'] | None = None) -> Tokens:
        """Run the network for pretraining.

        Args:
            images: ``(B, 3, H, W)``, any size.
            mask: ``(B, N)`` bool, patches to replace by the mask token.
            queries: ``(B, Q, D)`` embedded queries.
            coordinates: ``(N, 2)`` positions of the patches, see :meth:`positions`.
            keep: ``(B, n)``, the only patches that the network sees, each at its own position; the output has them in this order.
            read: The only patches that are read: ``(M,)`` indices into all ``B N``, or ``'cls'`` for none. The last block computes no
                others, while all are seen by those.
        """
        x = self.embed(images, mask, coordinates, keep)
        num_image, num_queries = x.shape[1], 0
        positions = self.kind.in_attention(self, self.grid_of(images), keep, queries is not None)
        if queries is not None:
            num_queries = queries.shape[1]
            x = torch.cat([x, queries], dim=1)
        rows = None if read is None else self._rows_read(x, num_image, read)
        for block, position in zip(self.blocks, positions):
            x = block(x, num_queries, self.query_keys, position, read=rows if block is self.blocks[-1] else None)
        x = self.norm(x)
        if rows is None:
            patches = x[:, self.num_prefix:num_image]
            return Tokens(patches.mean(1) if self.cls_token is None else x[:, 0], patches, x[:, num_image:])
        if isinstance(rows, int):
            return Tokens(x[:, 0], x[:, 1:].flatten(0, 1), x[:, 1:])
        cls, patches, queries = x.split([len(images), len(rows) - len(images) * (1 + num_queries), len(images) * num_queries])
        return Tokens(cls, patches, queries.unflatten(0, (len(images), num_queries)))

    def _rows_read(self, x: Tensor, num_image: int, read: Tensor | Literal['cls']) -> int | Tensor:
        """CLS, some patches and all queries among the rows of sequences ``(B, L, D)``, see
        :func:`mmdssl.models.layers.attention.rows_of`."""
        if self.cls_token is None:
            raise InputError('a backbone without a class token (class_token=False) takes the mean of all patches for it: read all')
        first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
        queries = (first + torch.arange(num_image, x.shape[1], device=x.device)).flatten()
        if isinstance(read, str):
            return torch.cat([first.flatten(), queries]) if len(queries) else 1
        num_patches = num_image - self.num_prefix
        image = read.div(num_patches, rounding_mode='floor')
        return torch.cat([first.flatten(), image * x.shape[1] + self.num_prefix + read % num_patches, queries])

    def features(self, images: Tensor) -> Tensor:
        """One vector per image, ``(B, D)``."""
        return self.pooled(self.forward_tokens(images))

    def features_alone(self, images: Tensor) -> Tensor:
        """:meth:`features`, equal to rounding, without those tokens of the last block that it does not read."""
        alone = self.pool == 'cls' and self.cls_token is not None
        return self.pooled(self.forward_tokens(images, read='cls' if alone else None))

    def pooled(self, tokens: Tokens) -> Tensor:
        """What stands for the image, of its tokens, as ``pool`` says."""
        return tokens.patches.mean(1) if self.pool == 'mean' else tokens.cls

    def features_and_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`features` and the map of the patch tokens, ``(B, map_dim, h, w)``, of one forward pass."""
        tokens = self.forward_tokens(images)
        return tokens.cls, tokens.patches.transpose(1, 2).unflatten(2, self.grid_of(images))

    @property
    def map_dim(self) -> int:
        return self.embed_dim

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps ``(B, D, h, w)`` of the blocks of ``out_indices``: stride ``patch_size``, or those of the pyramid."""
        grid, maps = self.grid_of(images), []
        windows = Windows(grid, self.window_size, images.device) if self.window_size else None
        x = self.embed(images)
        for i, (block, position) in enumerate(zip(self.blocks[:self.out_indices[-1] + 1], self.kind.in_attention(self, grid))):
            local = None if i in self.global_blocks else windows
            run = partial(block, position=position, windows=local)
            x = checkpoint(run, x, use_reentrant=False) if self.checkpointing and x.requires_grad else run(x)
            if i in self.out_indices:
                patches = (self.norm(x) if self.out_norm else x)[:, self.num_prefix:]
                maps.append(patches.transpose(1, 2).unflatten(2, grid))
        return tuple(maps) if self.pyramid is None else self.pyramid(maps, images.shape[-2:])

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    def intermediates(self, images: Tensor, blocks: Sequence[int], facet: str = 'token',
                      norm: bool = True) -> list[tuple[Tensor | None, Tensor]]:
        """Class token ``(B, D)``, None where there is none, and patches ``(B, N, D)`` of some blocks, with global attention.

        Args:
            images: ``(B, 3, H, W)``.
            blocks: Their numbers, from 0.
            facet: ``'token'``, the tokens that a block returns; or the ``'query'``, ``'key'`` or ``'value'`` that its attention makes of
                each token, heads side by side.
            norm: Apply the final norm to tokens.
        """
        x, found = self.embed(images), {}
        positions = self.kind.in_attention(self, self.grid_of(images))
        for i, (block, position) in enumerate(zip(self.blocks[:max(blocks) + 1], positions)):
            if facet != 'token' and i in blocks:
                found[i] = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)[FACETS.index(facet)]
            x = block(x, position=position)
            if facet == 'token' and i in blocks:
                found[i] = self.norm(x) if norm else x
        return [(None if self.cls_token is None else found[i][:, 0], found[i][:, self.num_prefix:]) for i in blocks]

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> Tensor:
        """Attention of CLS to the patches in the last block, one map per head, ``(B, heads, h, w)``."""
        if self.cls_token is None:
            raise InputError('attention maps are those of the class token, and this backbone has none (class_token=False)')
        grid = self.grid_of(images)
        x, positions = self.embed(images), self.kind.in_attention(self, grid)
        for block, position in zip(self.blocks[:-1], positions):
            x = block(x, position=position)
        last = self.blocks[-1]
        return last.attn.class_attention(last.norm1(x), positions[-1])[..., self.num_prefix:].unflatten(2, grid)

    def heat_map(self, images: Tensor) -> Tensor:
        """Where the network looks, ``(B, h, w)``, not normalised: attention of CLS summed over heads."""
        return self.attention_maps(images).sum(1)
