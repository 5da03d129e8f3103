"""A backbone whose patches do not tell where they are."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmdssl.arguments import NonEmpty, NonNegativeInt, PositiveInt
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

# What is the same of the network inside.
UNCHANGED = ('attention_maps', 'channels', 'embed_dim', 'frame', 'grid_of', 'heat_map', 'map_dim', 'num_blocks', 'out_indices',
             'patch_size', 'pool', 'strides')


@MODELS.register_module()
class PositionFree(BaseModule):
    """A backbone without those directions of its patches' features that tell their position (RASA, Franca).

    It is read as the backbone inside it is, class tokens and attention are the same, and from patches their projections on some
    directions are subtracted. Which ones, :class:`mmdssl.protocols.positions.PositionMetric` finds out, and
    :class:`mmdssl.engine.hooks.PositionFreeHook` writes the result, a checkpoint as any other.

    Args:
        backbone: Config of the network.
        width: Of a patch's features.
        directions: Number of those that are removed of each block.
        blocks: Numbers of the blocks, from 0, whose patches can be read without position.
        facet: ``'token'``, ``'query'``, ``'key'`` or ``'value'``, the same.
        norm: Whether they are read after the backbone's final norm.
        init_cfg: MMEngine's; ``dict(type='SSLPretrained', checkpoint=...)`` loads a file of such a network.

    Attributes:
        directions: ``(blocks, directions, width)``, orthonormal, or zero.
    """

    def __init__(self, backbone: dict, width: PositiveInt, directions: NonNegativeInt,
                 blocks: Annotated[Sequence[NonNegativeInt], NonEmpty], facet: Literal['token', 'query', 'key', 'value'] = 'token',
                 norm: bool = True, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.network = MODELS.build(backbone)
        self.blocks = list(blocks)
        self.facet = facet
        self.norm = norm or facet != 'token'  # which is of tokens alone
        self.register_buffer('directions', torch.zeros(len(self.blocks), directions, width))

    def __getattr__(self, name: str):
        return getattr(self.network, name) if name in UNCHANGED else super().__getattr__(name)

    def features(self, images: Tensor) -> Tensor:
        """One vector per image, ``(B, D)``; where it is made of patches, the mean of those of the last block."""
        if self.pool == 'cls' and getattr(self.network, 'cls_token', ...) is not None:
            return self.network.features(images)
        return self.intermediates(images, [self.num_blocks - 1])[0][1].mean(1)

    def intermediates(self, images: Tensor, blocks: Sequence[int], facet: str = 'token',
                      norm: bool = True) -> list[tuple[Tensor | None, Tensor]]:
        """Those of the backbone.

        Raises:
            InputError: Other features are asked for than those of which directions are known.
        """
        self._require(blocks, facet, norm)
        found = self.network.intermediates(images, blocks, facet, norm)
        return [(token, self._free(patches, block)) for block, (token, patches) in zip(blocks, found)]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(B, D, h, w)``, see :meth:`intermediates`."""
        if getattr(self.network, 'pyramid', None) is not None:
            raise InputError('PositionFree takes the position out of patches, and a pyramid rescales them: set backbone.pyramid to False')
        blocks, norm = self.out_indices or [self.num_blocks - 1], getattr(self.network, 'out_norm', False)
        self._require(blocks, 'token', norm)
        return tuple(self._free(each.movedim(1, -1), block).movedim(-1, 1)
                     for block, each in zip(blocks, self.network(images)))

    def _require(self, blocks: Sequence[int], facet: str, norm: bool) -> None:
        """Refuse what still tells positions, with the options of the config of positions that write a file for it."""
        other = facet != self.facet or norm != self.norm and facet == 'token'
        lacking = [block for block in blocks if other or block not in self.blocks]
        if lacking:
            options = [f'facet={facet}'] * (facet != 'token') + ['norm=False'] * (facet == 'token' and not norm)
            if list(blocks) != [self.num_blocks - 1]:
                options.append(f'blocks=[{",".join(map(str, blocks))}]')
            words = ' '.join(['--cfg-options', *(f'test_evaluator.extractor.{option}' for option in options)]) if options else 'its config'
            raise InputError(f'the position has been taken out of {self.subject}, and what is read is {self._words(facet, norm)} of block '
                             f'{lacking[0]}: measure positions with {words}, which writes such a backbone')

    @property
    def subject(self) -> str:
        """What does not tell positions, in words."""
        return f'{self._words(self.facet, self.norm)} of block {", ".join(map(str, self.blocks))}'

    def _free(self, features: Tensor, block: int) -> Tensor:
        """In fp32, because a rounded projection would leave some of the position."""
        directions = self.directions[self.blocks.index(block)].float()
        with torch.autocast(features.device.type, enabled=False):
            free = features.float()
            return (free - free @ directions.T @ directions).to(features.dtype)

    @staticmethod
    def _words(facet: str, norm: bool) -> str:
        return f'the {facet}{"" if norm or facet != "token" else " before the final norm"}'
