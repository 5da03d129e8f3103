"""Find a network among the tensors of a file."""
from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from mmdssl.errors import InputError
from mmdssl.models.layers.position import integer_grid, sincos2d

# A tensor that only a vision transformer (of timm's names, or Hugging Face's) or a ResNet has; in front is the prefix.
ANCHORS = ('patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight', 'embeddings.patch_embeddings.weight',
           'layer1.0.conv1.weight')
# Of the pixels of natural images, which almost all weights take.
IMAGENET = dict(mean=list(IMAGENET_DEFAULT_MEAN), std=list(IMAGENET_DEFAULT_STD))
DEEPEST = 8  # dicts inside dicts; what contains itself has no end
WRAPPERS = re.compile(r'\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')

# Words of a prefix. Students are trained by gradients and the others follow them; teachers are what is evaluated.
TEACHERS = {'teacher', 'teacher_model', 'model_ema', 'state_dict_ema'}
MOMENTUM = {'momentum_encoder', 'encoder_k', 'target', 'target_net', 'target_network', 'target_encoder'}
STUDENTS = {'student', 'base_encoder', 'encoder_q', 'online', 'online_net', 'online_network', 'online_encoder'}

UNSUPPORTED = (
    (r'(^|\.)layers\.\d+\.blocks\.', 'Swin'),
    (r'(^|\.)layers\.\d+\.(ln1|attn\.attn)\.', "mmpretrain's and mmseg's own vision transformers"),
    (r'embeddings\.patch_embeddings\.proj\.', 'V-JEPA, a network of videos'),
    (r'\.mlp\.(norm|ffn_ln)\.|\.attn\.(q_proj|inner_attn_ln)\.|(^|\.)rope\.', 'EVA-02, whose MLPs and rotary positions are others'),
    (r'(dist_token|distillation_token)$', 'the distillation token of DeiT'),
    (r'(^|\.)(pre_layrnorm|class_embedding|vision_model)\b', "CLIP and SigLIP in other names than timm's"),
    (r'\.attn\.[qk]_norm\.', 'query-key norms'),
    (r'^cls_norm\.', 'a norm of its own for the class token'),
    (r'patch_embed\.(norm|backbone)\.', 'patch embeddings with a norm or a stem of convolutions'),
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
        own: What defines it, of the config of a backbone of ours that the file carries; None without one.
        stored: The config that the file carries, whoever's it is; empty without one.
        beside: What ``config.json`` in the same folder says; empty without one.
        safetensors: Whether the file is in that format.
        pixels: ``mean`` and ``std`` of red, green and blue, from 0 to 1, by which its images are normalised.
    """
    path: str
    prefix: str
    state: dict[str, Tensor]
    others: list[str] = field(default_factory=list)
    own: dict | None = None
    stored: dict = field(default_factory=dict)
    beside: dict = field(default_factory=dict)
    safetensors: bool = False
    pixels: dict[str, list[float]] = field(default_factory=lambda: dict(IMAGENET))

    def has(self, pattern: str) -> bool:
        return any(re.search(pattern, name) for name in self.state)

    def table_is_sincos(self, x_first: bool) -> bool:
        """Whether the stored table of positions is the fixed one: of MAE (x first) or of MoCo v3 (y first)."""
        table = self.state.get('pos_embed')
        return table is not None and table.dim() == 3 and is_sincos(table[:, table.shape[1] - math.isqrt(table.shape[1])**2:], x_first)

    def refuse_unsupported(self) -> None:
        """
        Raises:
            InputError: No backbone of ours computes what this network does.
        """
        if (found := unsupported(self.state)) is not None:
            raise InputError(f'{self.path} is not supported: {found}')


def is_sincos(table: Tensor, x_first: bool = True) -> bool:
    """Whether patch positions ``(1, G*G, D)`` are the fixed sine-cosine ones of their own grid."""
    side, dim = math.isqrt(table.shape[1]), table.shape[2]
    if side * side != table.shape[1] or dim % 4:
        return False
    x, y = integer_grid((side, side)).unbind(-1)
    fixed = sincos2d(x, y, dim) if x_first else sincos2d(y, x, dim)
    return torch.allclose(table[0].float(), fixed, rtol=0, atol=max(1e-4, 2 * torch.finfo(table.dtype).eps))


def unsupported(tensors: dict[str, Tensor]) -> str | None:
    """What cannot be loaded, in words."""
    for name, tensor in tensors.items():
        if f'.{name}'.endswith('.patch_embed.proj.weight') and tensor.dim() == 5:
            return (f'V-JEPA and other networks of videos cut time into patches too ({name} is of shape '
                    f'{"x".join(map(str, tensor.shape))}): give a network of images')
    widths: dict[str, int] = {}  # of what is hierarchical, they grow
    for name, tensor in tensors.items():
        if (stage := re.search(r'(^|\.)stages\.\d+\.', name)) and tensor.dim():
            widths[stage[0]] = max(len(tensor), widths.get(stage[0], 0))
    if len(set(widths.values())) > 1:
        return f'hierarchical networks cannot be loaded (the stages of this one are {", ".join(map(str, widths.values()))} wide)'
    stem = next((name for name in tensors if re.match(r'(stem|conv1)\.\d+\.', name)), None)
    if stem and 'layer1.0.conv1.weight' in tensors:
        return f'ResNets with a deep stem cannot be loaded (it has {stem})'
    found = ((what, name) for pattern, what in UNSUPPORTED for name in tensors if re.search(pattern, name))
    return next((f'{what} cannot be loaded (it has {name})' for what, name in found), None)


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
        InputError: There is none, or not the one asked for.
    """
    if inside is None:
        prefixes = {name[:-len(anchor)] for name in tensors for anchor in ANCHORS if f'.{name}'.endswith(f'.{anchor}')}
    else:
        places = (rf'(.*?\b)?backbone\.{inside}', rf'(state_dict\.)?{inside}', r'(state_dict\.)?')
        found = ({match[0] for name in tensors if (match := re.match(place, name))} for place in places)
        prefixes = next(filter(None, found), set())
    if not prefixes:
        Network(path, '', tensors).refuse_unsupported()
        raise InputError(f'{path} holds no vision transformer or ResNet that is known ({some(tensors) or "no tensor at all"}): give a '
                         'checkpoint of one, or write the config yourself (mmdssl.TimmBackbone), with '
                         "init_cfg=dict(type='SSLPretrained', ...)")
    prefix = _choose(prefixes, path, network)
    state = {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outer = prefix.removesuffix('beit.')
    if outer != prefix and 'layernorm.weight' not in state and f'{outer}layernorm.weight' in tensors:
        # Hugging Face's BEiT for masked images keeps the final norm outside.
        state.update({name: tensors[f'{outer}{name}'] for name in ('layernorm.weight', 'layernorm.bias')})
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
