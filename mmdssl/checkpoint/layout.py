"""What all kinds of checkpoints have in common: names of a network's tensors become ours, and so do their shapes."""
from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmdssl.checkpoint.architecture import DEFAULTS, check_shapes, sizes_of, vit_config
from mmdssl.checkpoint.networks import Network
from mmdssl.checkpoint.weights import check_weights
from mmdssl.errors import InputError
from mmdssl.models.backbones.positions import rotary_periods
from mmdssl.models.layers.position import integer_grid, sincos2d

# Of a network's own tensors, those that are no part of a backbone, by our names.
NO_PART = ((r'(head|head_dist|fc|fc_norm|pre_logits|pooler|classifier|lm_head|projection_head|prototypes)\.', 'head of its training'),
           (r'.*relative_position_index$', 'follows from the size of the frame'))
# What has another name somewhere, and means the same wherever it has it.
RENAMES = (
    (r'^masked_embed$', 'mask_token'),
    (r'^(register|storage)_tokens$', 'reg_token'),
    (r'^rope_embed\.periods$', 'rope_periods'),
    (r'^blocks\.\d+\.(\d+\.)', r'blocks.\1'),  # DINOv2's chunks; the second number already counts all blocks
    (r'\.gamma_([12])$', r'.ls\1.gamma'),
    (r'\.attn\.([qkv])_bias$', r'.attn.\1.bias'),
    (r'\.mlp\.w12\.', '.mlp.fc1.'),
    (r'\.mlp\.w1\.', '.mlp.fc1_g.'),
    (r'\.mlp\.w2\.', '.mlp.fc1_x.'),
    (r'\.mlp\.w3\.', '.mlp.fc2.'),
)


@dataclass
class Pretrained:
    """A backbone read from a checkpoint.

    Attributes:
        path: Of the file.
        layout: Name of its layout, see :data:`mmdssl.checkpoint.layouts.LAYOUTS`.
        prefix: Where in the file it was, for instance ``'teacher.module.backbone.'``.
        state: Its tensors under our names, which are timm's and torchvision's.
        config: Config to build it from; ``arch.num_heads`` is None where nothing implies it.
        ignored: Why the file's other tensors are not among them, by their names in the file.
        pixels: ``mean`` and ``std`` of red, green and blue, from 0 to 1, by which its images are normalised.
    """
    path: str
    layout: str
    prefix: str
    state: dict[str, Tensor]
    config: dict
    ignored: dict[str, str]
    pixels: dict[str, list[float]]

    def __str__(self) -> str:
        return f'{self.path} ({self.layout})'


@dataclass
class Written:
    """What becomes of a backbone in a layout.

    Attributes:
        state: Its tensors.
        left_out: Names of those without a place.
        beside: Contents of further JSON files, by name.
        how: The lines of Python that load it, with ``{file}`` and ``{folder}`` for where it is; empty where no line does.
    """
    state: dict[str, Tensor]
    left_out: list[str] = field(default_factory=list)
    beside: dict[str, dict] = field(default_factory=dict)
    how: str = ''


class Layout:
    """A kind of checkpoint, by default of any network, with its own names.

    Attributes:
        name: For the argument ``layout``.
        ignored: Patterns of our names of what is left out, and why.
    """
    name: str
    ignored: tuple[tuple[str, str], ...] = NO_PART

    def fits(self, net: Network) -> bool:
        """Whether a network looks like it; of several layouts, the first one is taken."""
        raise NotImplementedError

    def read(self, net: Network) -> Pretrained:
        """What there is of a network, and why the rest of the file is ignored."""
        self.check(net)
        state, ignored = {}, dict.fromkeys(net.others, 'outside the backbone')
        for name, tensor in net.state.items():
            ours = self.rename(name)
            reason = next((reason for pattern, reason in self.ignored if re.match(pattern, ours)), None)
            if reason:
                ignored[f'{net.prefix}{name}'] = reason
            else:
                state[ours] = tensor
        self.complete(net, state)
        return Pretrained(net.path, self.name, net.prefix, state, self.config(net, state), ignored, net.pixels)

    def check(self, net: Network) -> None:
        """Refuse networks that nothing of ours computes, and weights with which nothing is computed."""
        net.refuse_unsupported()
        check_weights(net.path, net.state)

    def rename(self, name: str) -> str:
        """Our name of a tensor."""
        return name

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        """Bring tensors that others keep in another shape to ours."""

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        """Config of the backbone for tensors of ours."""
        raise NotImplementedError

    def written(self, given: Pretrained) -> Written:
        """A backbone in this layout, which is one of those that are written.

        Raises:
            InputError: The layout cannot hold it.
        """
        raise NotImplementedError


class TransformerLayout(Layout):
    """Vision transformers in timm's names, or nearly.

    Attributes:
        position_rule: How tables of positions are resized by the code that made the weights.
        remainder: What becomes in it of pixels that are no whole patch, see :class:`mmdssl.models.VisionTransformer`.
        norm_eps: Epsilon of its norms.
    """
    position_rule = 'size'
    remainder = 'pad'
    norm_eps = 1e-6

    def read(self, net: Network) -> Pretrained:
        given = super().read(net)
        sizes = sizes_of(given.config)
        if given.config.get('position') == 'rotary' and sizes['num_heads']:  # which other libraries' files do without
            given.state.setdefault('rope_periods', rotary_periods(sizes['embed_dim'] // sizes['num_heads']))
        return given

    def rename(self, name: str) -> str:
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        return name

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        if 'mask_token' in state:
            state['mask_token'] = state['mask_token'].reshape(1, 1, -1)
        if 'reg_token' in state and state['reg_token'].shape[1:2] == (0, ):
            del state['reg_token']
        check_shapes(net.path, state)
        _stack_qkv(state)
        _split_gates(state)
        _share_relative_positions(state)
        _fold_positions(state, net.path)

    def config(self, net: Network, state: dict[str, Tensor], **facts: Any) -> dict:
        """Config of the backbone for tensors of ours.

        Args:
            net: Where they are from.
            state: The tensors.
            facts: Of :func:`mmdssl.checkpoint.architecture.vit_config`, in place of what else holds; a ``position`` of None is what
                tensors show.
        """
        shown = ('pos_embed', 'relative_position_bias_table', 'rope_periods')
        if 'position' not in facts and not any(name.endswith(shown) for name in state):
            raise InputError(f'{net.path} has no positions and no config that says why: if they are the fixed ones of a '
                             "backbone of ours, say layout='mmdssl'; otherwise the file is not complete")
        implied = dict(num_heads=self.num_heads(net, len(state['patch_embed.proj.weight'])), position_rule=self.position_rule,
                       norm_eps=self.norm_eps, remainder=self.remainder)
        return vit_config(state, **{**implied, **facts})

    def num_heads(self, net: Network, width: int) -> int | None:
        """Heads of the published architecture of a width; None where none is known."""
        if width in (1152, 1280, 1408, 1664):  # so400m, H, g, G
            return 16
        return width // 64 if width % 64 == 0 else None


def with_table(given: Pretrained) -> dict[str, Tensor]:
    """The tensors, with fixed positions written out as the table that other libraries need."""
    config, state = {**DEFAULTS, **given.config}, given.state
    if config['position'] != 'sincos' or 'pos_embed' in state:
        return dict(state)
    weight, side = state['patch_embed.proj.weight'], config['img_size'] // config['patch_size']
    patches = sincos2d(*integer_grid((side, side)).unbind(-1), weight.shape[0])[None]
    cls = patches.new_zeros(1, int('cls_token' in state), weight.shape[0])
    return {**state, 'pos_embed': torch.cat([cls, patches], dim=1).to(weight)}


def require_usual_periods(given: Pretrained) -> None:
    """Raise an InputError unless periods of rotary positions, if there are any, are those of a base of 100, which other libraries
    compute anew; the authors' files have them rounded to bfloat16."""
    periods = given.state.get('rope_periods')
    if periods is not None and not torch.allclose(periods.float(), rotary_periods(4 * len(periods)), rtol=1e-2):
        raise InputError(f"{given.path} cannot be written in another library's form, whose rotary positions have periods that follow from "
                         "a base of 100: write mmdssl's")


def keyless_bias(given: Pretrained, name: str) -> tuple[Tensor, Tensor]:
    """The parts of a bias of ``qkv`` that belong to queries and values.

    Raises:
        InputError: Keys use theirs.
    """
    q, k, v = given.state[name].chunk(3)
    if k.any() and given.config.get('key_bias', True):
        raise InputError(f'{given.path} cannot be written for a network whose keys have no bias: {name} has one')
    return q, v


def _stack_qkv(state: dict[str, Tensor]) -> None:
    """Make ``qkv`` of q, k and v. Where no block has a bias of k (BEiT), it is zero; other gaps are left to show."""
    any_key_bias = any(name.endswith('.attn.k.bias') for name in state)
    for first in [name for name in state if re.search(r'\.attn\.q\.(weight|bias)$', name)]:
        block, kind = first.split('.q.')
        q, k, v = (state.get(f'{block}.{part}.{kind}') for part in 'qkv')
        if k is None and kind == 'bias' and not any_key_bias:
            k = torch.zeros_like(q)
        if k is not None and v is not None and q.shape[1:] == k.shape[1:] == v.shape[1:]:
            state[f'{block}.qkv.{kind}'] = torch.cat([q, k, v])
            for part in 'qkv':
                state.pop(f'{block}.{part}.{kind}', None)


def _split_gates(state: dict[str, Tensor]) -> None:
    """Make two matrices of one that a gated MLP's gate and values are stacked in; values without a gate are those of a plain MLP."""
    for name in [name for name in state if '.mlp.fc1_x.' in name and name.replace('fc1_x', 'fc1_g') not in state]:
        state[name.replace('fc1_x', 'fc1')] = state.pop(name)
    for first in [name for name in state if re.search(r'\.mlp\.fc1\.(weight|bias)$', name)]:
        second = state.get(f'{first.rpartition("fc1.")[0]}fc2.weight')
        if second is not None and second.dim() == 2 and len(state[first]) == 2 * second.shape[1]:
            gate, values = state.pop(first).chunk(2)
            state[first.replace('fc1.', 'fc1_g.')], state[first.replace('fc1.', 'fc1_x.')] = gate, values


def _share_relative_positions(state: dict[str, Tensor]) -> None:
    """Give every block its copy of a table that all share (BEiT before fine-tuning)."""
    table = state.pop('rel_pos_bias.relative_position_bias_table', None)
    if table is not None:
        for block in {name.split('.')[1] for name in state if name.startswith('blocks.')}:
            state[f'blocks.{block}.attn.relative_position_bias_table'] = table


def _fold_positions(state: dict[str, Tensor], path: str) -> None:
    """Bring a table to one slot for CLS, where there is CLS, and the patches.

    timm's tables may lack the slot of CLS (zeros, then) or have more slots for registers, whose positions are added to
    them.
    """
    if 'pos_embed' not in state:
        return
    table, num_class = state['pos_embed'], int('cls_token' in state)
    num_registers = state['reg_token'].shape[1] if 'reg_token' in state else 0
    slots = next((slots for slots in (0, num_class, num_class + num_registers)
                  if math.isqrt(max(table.shape[1] - slots, 0))**2 == table.shape[1] - slots), None)
    if slots is None:
        raise InputError(f'{path} has {table.shape[1]} positions, which are no square grid'
                         f'{" and a class token" if num_class else ""}: only square ones can be resized')
    given, patches = table[:, :slots], table[:, slots:]
    if slots > num_class and given[:, num_class:].any():
        state['reg_token'] = state['reg_token'] + given[:, num_class:]
    cls = given[:, :num_class] if slots else torch.zeros_like(table[:, :num_class])
    state['pos_embed'] = torch.cat([cls, patches], dim=1)
