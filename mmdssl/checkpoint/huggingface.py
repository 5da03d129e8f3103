"""Hugging Face's vision transformers (ViT, ViTMAE, DINOv2, DINOv3, BEiT), read and written."""
from __future__ import annotations

import re

import torch
from torch import Tensor

from mmdssl.checkpoint.architecture import DEFAULTS, is_our_vit, sizes_of
from mmdssl.checkpoint.layout import Pretrained, TransformerLayout, Written, keyless_bias, require_usual_periods, with_table
from mmdssl.checkpoint.networks import Network
from mmdssl.errors import InputError
from mmdssl.models.backbones.positions import rotary_periods

# By the name of a family, the model that is a backbone and nothing else.
FAMILIES = {
    'vit': 'ViTModel',
    'dinov2': 'Dinov2Model',
    'dinov2_with_registers': 'Dinov2WithRegistersModel',
    'dinov3_vit': 'DINOv3ViTModel',
    'beit': 'BeitModel',
}

_OUTSIDE = {
    'cls_token': 'embeddings.cls_token',
    'mask_token': 'embeddings.mask_token',
    'reg_token': 'embeddings.register_tokens',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj.': 'embeddings.patch_embeddings.projection.',
    'norm.': 'layernorm.',
}
_ATTENTION = {
    'attn.q.': 'attention.attention.query.',
    'attn.k.': 'attention.attention.key.',
    'attn.v.': 'attention.attention.value.',
    'attn.proj.': 'attention.output.dense.',
    'attn.relative_position_bias_table': 'attention.attention.relative_position_bias.relative_position_bias_table',
}
_VIT = {
    'norm1.': 'layernorm_before.',
    'norm2.': 'layernorm_after.',
    'mlp.fc1.': 'intermediate.dense.',
    'mlp.fc2.': 'output.dense.',
    'ls1.gamma': 'lambda_1',
    'ls2.gamma': 'lambda_2',
}
_DINOV2 = {'ls1.gamma': 'layer_scale1.lambda1', 'ls2.gamma': 'layer_scale2.lambda1'}
_DINOV3_OUTSIDE = {**_OUTSIDE, 'patch_embed.proj.': 'embeddings.patch_embeddings.', 'norm.': 'norm.'}
_DINOV3 = {'attn.q.': 'attention.q_proj.', 'attn.k.': 'attention.k_proj.', 'attn.v.': 'attention.v_proj.',
           'attn.proj.': 'attention.o_proj.', 'mlp.fc1.': 'mlp.up_proj.', 'mlp.fc1_g.': 'mlp.gate_proj.', 'mlp.fc1_x.': 'mlp.up_proj.',
           'mlp.fc2.': 'mlp.down_proj.'}

# What transformers 5 calls the same things in memory; its files keep the older names.
_IN_MEMORY = (
    (r'^(model\.)?layers?\.', 'encoder.layer.'),
    (r'^(encoder\.layer\.\d+\.)relative_position_bias\.', r'\1attention.attention.relative_position_bias.'),
    (r'^shared_position_bias\.', 'encoder.relative_position_bias.'),
    (r'\.mlp\.weights_in\.', '.mlp.fc1.'),
    (r'\.mlp\.weights_out\.', '.mlp.fc2.'),
)


def from_huggingface(name: str) -> str:
    """timm's name of a parameter of any of the families; names without one come back as they are."""
    for pattern, replacement in _IN_MEMORY:
        name = re.sub(pattern, replacement, name)
    name = name.replace('encoder.relative_position_bias.', 'rel_pos_bias.')
    block = re.match(r'encoder\.layer\.(\d+)\.', name)
    outside, inside = ({theirs: ours for names in tables for ours, theirs in names.items()}
                       for tables in ((_DINOV3_OUTSIDE, _OUTSIDE), (_ATTENTION, _VIT, _DINOV2, _DINOV3)))
    return f'blocks.{block[1]}.{_renamed(name[block.end():], inside)}' if block else _renamed(name, dict(sorted(outside.items())[::-1]))


def to_huggingface(name: str, family: str) -> str:
    """The families' name of a parameter with timm's name and with separate ``attn.q``, ``attn.k``, ``attn.v``."""
    new = family == 'dinov3_vit'
    block = re.match(r'blocks\.(\d+)\.', name)
    if not block:
        return _renamed(name, _DINOV3_OUTSIDE if new else _OUTSIDE)
    names = {**_ATTENTION, **(_DINOV2 if family.startswith('dino') else _VIT), **(_DINOV3 if new else {})}
    return f'{"" if new else "encoder."}layer.{block[1]}.{_renamed(name[block.end():], names)}'


def _renamed(name: str, names: dict[str, str]) -> str:
    return next((new + name[len(old):] for old, new in names.items() if name.startswith(old)), name)


def _is_rotary(net: Network) -> bool:
    return net.has(r'^embeddings\.patch_embeddings\.weight$')


class HuggingFace(TransformerLayout):
    """Files of transformers; ``config.json`` beside them tells the heads and the epsilon of the norms."""
    name = 'huggingface'

    def fits(self, net: Network) -> bool:
        return net.has(r'^embeddings\.')

    def rename(self, name: str) -> str:
        return super().rename(from_huggingface(name))

    def complete(self, net: Network, state: dict[str, Tensor]) -> None:
        super().complete(net, state)
        beside, width = self._beside(net), len(state['patch_embed.proj.weight'])
        newer = beside.get('rope_parameters')
        base = beside.get('rope_theta', newer.get('rope_theta') if isinstance(newer, dict) else None)
        if _is_rotary(net) and isinstance(base, (int, float)) and base > 0 and (heads := self.num_heads(net, width)):
            state['rope_periods'] = rotary_periods(width // heads, base)

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        rotary = _is_rotary(net)
        beside = self._beside(net)
        wanted = 'silu' if rotary and 'blocks.0.mlp.fc1_g.weight' in state else 'gelu'  # DINOv2's gated ones say gelu, and are not
        if beside.get('hidden_act', wanted) != wanted:
            raise InputError(f'{net.path} is not supported: the MLPs of its network use {beside["hidden_act"]}, ours {wanted}')
        eps = beside.get('layer_norm_eps', 1e-5 if rotary else self.norm_eps)
        rule = 'antialias' if 'reg_token' in state else self.position_rule
        return super().config(net, state, norm_eps=eps, position_rule=rule, **(dict(position='rotary') if rotary else {}))

    def num_heads(self, net: Network, width: int) -> int | None:
        heads = self._beside(net).get('num_attention_heads', super().num_heads(net, width))
        if heads is not None and (not isinstance(heads, int) or heads < 1 or width % heads):
            raise InputError(f'config.json beside {net.path} has num_attention_heads={heads!r}, into which a width of {width} cannot be '
                             'cut: correct it, or remove it from there')
        return heads

    @staticmethod
    def _beside(net: Network) -> dict:
        """``config.json``, if it is that of this network."""
        norm = next((tensor for name, tensor in net.state.items() if name.endswith(('layernorm_before.weight', 'norm1.weight'))), [])
        return net.beside if net.beside.get('hidden_size') == len(norm) else {}

    def written(self, given: Pretrained) -> Written:
        config, state = given.config, given.state
        family = _family(given)
        keyless = family == 'beit' or not config.get('key_bias', True)
        left_out = [name for name in ('rope_periods', *(['mask_token'] if family == 'vit' else [])) if name in state]
        out = {}
        for name, tensor in with_table(given).items():
            if name in left_out:
                continue
            if '.attn.qkv.' in name:
                parts = dict(zip('qkv', tensor.chunk(3)))
                if keyless and name.endswith('bias'):
                    parts = dict(zip('qv', keyless_bias(given, name)))
                out.update({to_huggingface(name.replace('.qkv.', f'.{part}.'), family): values for part, values in parts.items()})
            else:
                out[to_huggingface(name, family)] = tensor[0] if name == 'mask_token' and family.startswith('dinov2') else tensor
        if family.startswith('dinov2'):  # where the gate and the values of a gated MLP are one
            for gate in [name for name in out if '.mlp.fc1_g.' in name]:
                values, last = gate.replace('fc1_g', 'fc1_x'), gate.replace('fc1_g', 'fc2')
                out[gate.replace('fc1_g', 'weights_in')] = torch.cat([out.pop(gate), out.pop(values)])
                out[gate.replace('fc1_g', 'weights_out')] = out.pop(last)
        width = len(state['patch_embed.proj.weight'])
        if family == 'dinov3_vit':
            out.setdefault('embeddings.register_tokens', torch.zeros(1, 0, width))
            out.setdefault('embeddings.mask_token', torch.zeros(1, 1, width))
        elif family == 'dinov2_with_registers':
            out.setdefault('embeddings.mask_token', torch.zeros(1, width))
        beside = {'config.json': _model_config(given, family), 'preprocessor_config.json': _processor(given)}
        options = ', add_pooling_layer=False' if family in ('vit', 'beit') else ''
        return Written(out, left_out, beside, 'from transformers import AutoImageProcessor, AutoModel\n'
                       'processor = AutoImageProcessor.from_pretrained({folder})\n'
                       f'model = AutoModel.from_pretrained({{folder}}{options})')


def _family(given: Pretrained) -> str:
    """Which of Hugging Face's models can hold a network."""
    config, state, path = given.config, given.state, given.path
    if not is_our_vit(config):
        raise InputError(f"{path} cannot be written in Hugging Face's form, which needs a vision transformer: write timm's")
    require_usual_periods(given)
    full = {**DEFAULTS, **config}
    relative, scaled, rotary = full['relative_position'], 'blocks.0.ls1.gamma' in state, full['position'] == 'rotary'
    gated = full['mlp'] == 'swiglu'
    needs = {
        'a class token': 'cls_token' in state,
        'a final norm': 'norm.weight' in state,
        'positions': full['position'] != 'none' or relative,
        'LayerScale beside registers, rotary positions or gated MLPs': scaled or not (full['num_registers'] or rotary or gated),
        'no gated MLPs beside relative positions': not (gated and relative),
        'MLPs as wide as a whole mlp_ratio makes them': rotary or relative or not scaled or _ratio(full, state) is not None,
    }
    for need, met in needs.items():
        if not met:
            raise InputError(f"{path} cannot be written in Hugging Face's form, which needs {need}: write timm's")
    if relative or rotary:
        return 'beit' if relative else 'dinov3_vit'
    return 'dinov2_with_registers' if full['num_registers'] else 'dinov2' if scaled else 'vit'


def _ratio(config: dict, state: dict[str, Tensor]) -> int | None:
    """The ``mlp_ratio`` that DINOv2's config has for a network, a whole number; its gated MLPs are 2/3 as wide, in multiples of 8."""
    width, gated = len(state['patch_embed.proj.weight']), config['mlp'] == 'swiglu'
    made = {ratio: (ratio * width * 2 // 3 + 7) // 8 * 8 if gated else ratio * width for ratio in range(1, 17)}
    return next((ratio for ratio, hidden in made.items() if hidden == round(width * config['mlp_ratio'])), None)


def _model_config(given: Pretrained, family: str) -> dict:
    """What ``config.json`` needs to build the model of a family."""
    config, state = given.config, given.state
    full, sizes = {**DEFAULTS, **config}, sizes_of(config)
    common = dict(model_type=family, architectures=[FAMILIES[family]], hidden_size=sizes['embed_dim'], num_hidden_layers=sizes['depth'],
                  num_attention_heads=sizes['num_heads'], hidden_act='gelu', patch_size=full['patch_size'], image_size=full['img_size'],
                  num_channels=3, layer_norm_eps=full['norm_eps'], mmdssl=config)
    hidden, gated = round(sizes['embed_dim'] * full['mlp_ratio']), full['mlp'] == 'swiglu'
    if family == 'dinov3_vit':
        return dict(common, intermediate_size=hidden, hidden_act='silu' if gated else 'gelu', use_gated_mlp=gated,
                    num_register_tokens=full['num_registers'], rope_theta=100., query_bias=True, key_bias=full['key_bias'], value_bias=True)
    common['qkv_bias'] = True
    if family.startswith('dinov2'):
        if full['num_registers']:
            common['num_register_tokens'] = full['num_registers']
        else:
            common['use_mask_token'] = 'mask_token' in state
        return dict(common, use_swiglu_ffn=gated, mlp_ratio=_ratio(full, state))
    common['intermediate_size'] = hidden
    if family == 'beit':
        common.update(use_relative_position_bias=True, use_mean_pooling=False, use_mask_token='mask_token' in state,
                      use_absolute_position_embeddings='pos_embed' in state,
                      layer_scale_init_value=0.1 if 'blocks.0.ls1.gamma' in state else 0)
    return common


def _processor(given: Pretrained) -> dict:
    """``preprocessor_config.json`` of images as the protocols of this package see them."""
    size = {**DEFAULTS, **given.config}['img_size']
    return dict(image_processor_type='BitImageProcessor', do_convert_rgb=True, do_resize=True, size=dict(shortest_edge=round(size * 8 / 7)),
                resample=3, do_center_crop=True, crop_size=dict(height=size, width=size), do_rescale=True, rescale_factor=1 / 255,
                do_normalize=True, image_mean=given.pixels['mean'], image_std=given.pixels['std'])
