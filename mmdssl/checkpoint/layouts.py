"""Where published checkpoints keep a backbone, under which names, and what they imply beyond their tensors."""
from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdssl.checkpoint.architecture import check_shapes
from mmdssl.checkpoint.huggingface import from_huggingface
from mmdssl.errors import InputError
from mmdssl.models.layers.position import integer_grid, sincos2d

# A tensor that only a vision transformer (of timm's names, or Hugging Face's) or a ResNet has; in front is the prefix.
ANCHORS = ('patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight', 'layer1.0.conv1.weight')
DEEPEST = 8  # dicts inside dicts; what contains itself has no end
WRAPPERS = re.compile(r'\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')

# Words of a prefix. Students are trained by gradients and the others follow them; teachers are what is evaluated.
TEACHERS = {'teacher', 'teacher_model', 'model_ema', 'state_dict_ema'}
MOMENTUM = {'momentum_encoder', 'encoder_k', 'target', 'target_net', 'target_network', 'target_encoder'}
STUDENTS = {'student', 'base_encoder', 'encoder_q', 'online', 'online_net', 'online_network', 'online_encoder'}

UNSUPPORTED = (
    (r'(^|\.)layers\.\d+\.blocks\.', 'Swin'),
    (r'(^|\.)layers\.\d+\.(ln1|attn\.attn)\.', "mmpretrain's and mmseg's own vision transformers"),
    (r'(^|\.)(stages|stem)\.\d', 'hierarchical networks and ResNets with a deep stem'),
    (r'\.mlp\.(w12|w3|fc1_g|weights_in|gate_proj)\.', 'SwiGLU MLPs (DINOv2 giant, EVA-02)'),
    (r'(^|\.)rope(_embed)?\.', 'rotary positions (DINOv3, EVA-02)'),
    (r'(dist_token|distillation_token)$', 'the distillation token of DeiT'),
    (r'(^|\.)(norm_pre|pre_layrnorm|class_embedding)\b', 'CLIP'),
    (r'\.attn\.[qk]_norm\.', 'query-key norms'),
    (r'patch_embed\.(norm|backbone)\.', 'patch embeddings with a norm or a stem of convolutions'),
)

# Of a network's own tensors, those that are no part of a backbone.
IGNORED = (
    (r'(head|head_dist|fc|fc_norm|pre_logits|pooler|classifier|lm_head|projection_head|prototypes)\.',
     'head of its training'),
    (r'decoder_', 'decoder of MAE'),
    (r'(query_block|norm2)\.', "not used by its own forward (authors' release of PQCL)"),
    (r'.*relative_position_index$', 'follows from the size of the frame'),
)

RENAMES = (
    (r'^masked_embed$', 'mask_token'),
    (r'^register_tokens$', 'reg_token'),
    (r'^blocks\.\d+\.(\d+\.)', r'blocks.\1'),  # DINOv2's chunks; the second number already counts all blocks
    (r'\.gamma_([12])$', r'.ls\1.gamma'),
    (r'\.attn\.([qkv])_bias$', r'.attn.\1.bias'),
)


@dataclass
class Network:
    """A network in a file.

    Attributes:
        path: Of the file, for messages.
        prefix: What stood before the names: keys of nested dicts, wrappers, module names; for instance
            ``'teacher.module.backbone.'``.
        state: Its tensors, by their names behind the prefix.
        others: Names of the file's other tensors.
        ours: Whether the file carries the config of a backbone of ours.
        safetensors: Whether the file is in that format.
    """
    path: str
    prefix: str
    state: dict[str, Tensor]
    others: list[str] = field(default_factory=list)
    ours: bool = False
    safetensors: bool = False

    def has(self, pattern: str) -> bool:
        return any(re.search(pattern, name) for name in self.state)

    def table_is_sincos(self, x_first: bool) -> bool:
        """Whether the stored table of positions is the fixed one: of MAE (x first) or of MoCo v3 (y first)."""
        table = self.state.get('pos_embed')
        return table is not None and table.dim() == 3 and is_sincos(table[:, table.shape[1] - math.isqrt(table.shape[1])**2:], x_first)


def is_sincos(table: Tensor, x_first: bool = True) -> bool:
    """Whether patch positions ``(1, G*G, D)`` are the fixed sine-cosine ones of their own grid."""
    side, dim = math.isqrt(table.shape[1]), table.shape[2]
    if side * side != table.shape[1] or dim % 4:
        return False
    x, y = integer_grid((side, side)).unbind(-1)
    fixed = sincos2d(x, y, dim) if x_first else sincos2d(y, x, dim)
    return torch.allclose(table[0].float(), fixed, rtol=0, atol=max(1e-4, 2 * torch.finfo(table.dtype).eps))


@dataclass(frozen=True)
class Layout:
    """A kind of checkpoint.

    Attributes:
        name: Its name, for the argument ``layout``.
        fits: Whether a network looks like it; the first one of :data:`LAYOUTS` that fits is taken.
        position_rule: How tables are resized by the code that made the weights.
        remainder: What becomes in it of pixels that are no whole patch, see :class:`mmdssl.models.VisionTransformer`.
        twelve_heads: ViT-S has 12 heads like ViT-B. Elsewhere a head is 64 wide.
    """
    name: str
    fits: Callable[[Network], bool]
    position_rule: str = 'size'
    remainder: str = 'pad'
    twelve_heads: bool = False

    def num_heads(self, width: int) -> int | None:
        """Heads of the published architecture of a width; None where none is known."""
        if self.twelve_heads and width < 768 and width % 12 == 0:
            return 12
        if width in (1152, 1280, 1408, 1664):  # so400m, H, g, G
            return 16
        return width // 64 if width % 64 == 0 else None


# Where names do not tell two layouts apart, values and the kind of file do. A fixed table of positions comes from MAE
# or from MoCo v3, by its order (BAM's backbone alone is read as MoCo v3's). A plain ViT without a head is taken for
# timm's in a safetensors file and for DINO's otherwise. Both pairs differ in position_rule only.
LAYOUTS = (
    Layout('resnet', lambda net: 'layer1.0.conv1.weight' in net.state),
    Layout('mmdssl', lambda net: net.ours),
    Layout('huggingface', lambda net: net.has(r'^embeddings\.')),
    Layout('beit', lambda net: net.has(r'attn\.q_bias$|relative_position_bias_table$')),
    Layout('dinov2', lambda net: net.has(r'^register_tokens$|^blocks\.\d+\.\d+\.')
           or net.has(r'ls1\.gamma$') and 'mask_token' in net.state, 'dino'),
    Layout('pqcl', lambda net: net.has(r'^query_block\.') or net.has('^masked_embed$') and net.table_is_sincos(True),
           'dino', 'cut'),
    Layout('ibot', lambda net: any(name.endswith('masked_embed') for name in [*net.state, *net.others]), 'dino', 'cut'),
    Layout('selfpatch', lambda net: not net.has(r'^(cls_token|norm\.|fc_norm\.|head\.)'), 'dino', 'cut'),
    Layout('bam', lambda net: any('.proj_head.' in name for name in net.others), 'antialias', twelve_heads=True),
    Layout('mocov3', lambda net: bool({'base_encoder', 'momentum_encoder'} & set(net.prefix.split('.')))
           or net.table_is_sincos(False), 'size', twelve_heads=True),
    Layout('mae', lambda net: net.has('^decoder_') or net.table_is_sincos(True)),
    Layout('timm', lambda net: net.safetensors or net.has(r'^(head|fc_norm)\.|^reg_token$'), 'antialias'),
    Layout('dino', lambda net: 'patch_embed.proj.weight' in net.state, 'dino', 'cut'),
)


def flatten(content: dict, prefix: str = '', depth: int = 0) -> dict[str, Tensor]:
    """All tensors of nested dicts of names, by their joined names."""
    tensors = {}
    for key, value in content.items():
        if isinstance(value, Tensor):
            tensors[WRAPPERS.sub('', f'{prefix}{key}')] = value
        elif isinstance(value, dict) and depth < DEEPEST and all(isinstance(name, str) for name in value):
            tensors.update(flatten(value, f'{prefix}{key}.', depth + 1))
    return tensors


def find_network(tensors: dict[str, Tensor], path: str, network: str | None = None, inside: str | None = None) -> Network:
    """Find the backbone among a file's tensors.

    Args:
        tensors: Of :func:`flatten`.
        path: Of the file, for messages.
        network: ``'teacher'``, ``'student'``, or None for the one that the method's authors evaluate.
        inside: For a network of any kind, under ``backbone`` or as the whole file: where in the backbone its tensors are, if
            they are not already outside it.

    Raises:
        InputError: There is none, one that is not supported, or not the one asked for.
    """
    if inside is None:
        prefixes = {name[:-len(anchor)] for name in tensors for anchor in ANCHORS if f'.{name}'.endswith(f'.{anchor}')}
    else:
        places = (rf'(.*?\b)?backbone\.{inside}', rf'(state_dict\.)?{inside}', r'(state_dict\.)?')
        found = ({match[0] for name in tensors if (match := re.match(place, name))} for place in places)
        prefixes = next(filter(None, found), set())
    if not prefixes:
        _refuse_unsupported(tensors, path)
        raise InputError(f'{path} holds no vision transformer or ResNet that is known ({some(tensors)}): give a '
                         f'checkpoint of one of the layouts {", ".join(layout.name for layout in LAYOUTS)}')
    prefix = _choose(prefixes, path, network)
    state = {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outer = prefix.removesuffix('beit.')
    if outer != prefix and 'layernorm.weight' not in state and f'{outer}layernorm.weight' in tensors:
        # Hugging Face's BEiT for masked images keeps the final norm outside.
        state.update({name: tensors[f'{outer}{name}'] for name in ('layernorm.weight', 'layernorm.bias')})
    if inside is None:
        _refuse_unsupported(state, path)
    taken = {f'{prefix}{name}' for name in state}
    return Network(path, prefix, state, [name for name in tensors if name not in taken])


def _choose(prefixes: set[str], path: str, network: str | None) -> str:
    """The prefix of the network wanted."""
    roles: dict[str, list[str]] = dict(teacher=[], plain=[], student=[], momentum=[])
    for prefix in sorted(prefixes):
        words = set(prefix.split('.'))
        kinds = dict(teacher=TEACHERS, momentum=MOMENTUM, student=STUDENTS)
        roles[next((role for role, kind in kinds.items() if words & kind), 'plain')].append(prefix)
    # A plain network alone is what was kept of a run; beside an average, it is what was averaged.
    alone = len(prefixes) == 1
    orders = {None: ('teacher', 'plain', 'student', 'momentum'),
              'teacher': ('teacher', 'momentum', *(['plain'] if alone else [])),
              'student': ('student', *([] if alone else ['plain']))}
    if network not in orders:
        raise InputError(f"network is 'teacher', 'student' or None, got {network!r}")
    found = next((roles[role] for role in orders[network] if roles[role]), [])
    if not found:
        raise InputError(f'{path} has no {network} network, only {some(prefixes)}: leave network out to take what is '
                         'there')
    if len(found) > 1:
        raise InputError(f'{path} holds several networks, {some(found)}: save the wanted one alone')
    return found[0]


def some(names: Iterable[str]) -> str:
    """The first few of some names, for a message."""
    names = [name or 'one without a prefix' for name in names]
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def _refuse_unsupported(names: dict[str, Tensor], path: str) -> None:
    for pattern, what in UNSUPPORTED:
        found = next((name for name in names if re.search(pattern, name)), None)
        if found:
            raise InputError(f'{path} is not supported: {what} cannot be loaded (it has {found})')


def recognise(net: Network, forced: str | None = None) -> Layout:
    """The layout of a network, or the one named ``forced``."""
    layouts = {layout.name: layout for layout in LAYOUTS}
    if forced is not None and forced not in layouts:
        raise InputError(f'unknown layout {forced!r}: use one of {", ".join(layouts)}')
    if forced is None and not net.ours and 'patch_embed.proj.weight' in net.state and not net.has('pos'):
        raise InputError(f'{net.path} has no positions and no config that says why: if they are the fixed ones of a '
                         "backbone of ours, say layout='mmdssl'; otherwise the file is not complete")
    return layouts[forced] if forced else next(layout for layout in LAYOUTS if layout.fits(net))


def translate(net: Network, layout: Layout) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A network's tensors under our names and in our shapes, and why others were ignored, by their full names."""
    state, ignored = {}, dict.fromkeys(net.others, 'outside the backbone')
    theirs = 'embeddings.patch_embeddings.projection.weight' in net.state
    for name, tensor in net.state.items():
        ours = from_huggingface(name) if theirs else name
        for pattern, replacement in RENAMES if theirs or 'patch_embed.proj.weight' in net.state else ():
            ours = re.sub(pattern, replacement, ours)
        reason = next((reason for pattern, reason in IGNORED if re.match(pattern, ours)), None)
        if layout.name == 'mae' and ours == 'mask_token':
            reason = 'belongs to the decoder'
        if layout.name != 'mmdssl' and reason:
            ignored[f'{net.prefix}{name}'] = reason
        else:
            state[ours] = tensor
    if 'patch_embed.proj.weight' in state:
        if 'mask_token' in state:
            state['mask_token'] = state['mask_token'].reshape(1, 1, -1)
        check_shapes(net.path, state)
        _stack_qkv(state)
        _share_relative_positions(state)
        _fold_positions(state, net.path)
    return state, ignored


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
