"""timm's vision transformers, read and written, and what timm builds and we do not."""
from __future__ import annotations

import re
from typing import Any

import timm
import torch
from torch import Tensor

from mmdssl.checkpoint.architecture import ARCHITECTURES, DEFAULTS, is_our_vit, is_resnet, sizes_of
from mmdssl.checkpoint.layout import Layout, Written, keyless_bias, with_table
from mmdssl.checkpoint.networks import Network, unsupported


class Timm(Layout):
    """A plain network without a head is taken for timm's in a safetensors file, and for DINO's otherwise."""
    name = 'timm'
    position_rule = 'antialias'

    def fits(self, net: Network) -> bool:
        return net.safetensors or net.has(r'^(head|fc_norm)\.|^reg_token$')

    def written(self, config: dict, state: dict[str, Tensor], path: str) -> Written:
        if not is_our_vit(config):
            return Written(dict(state), how=_how_to_load(config, state))
        left_out = [name for name in ('mask_token', 'rope_periods') if name in state]
        out = {name: tensor for name, tensor in with_table(config, state).items() if name not in left_out}
        if 'reg_token' in out and 'pos_embed' in out:  # registers have slots, unless CLS has none (no_embed_class)
            cls, patches = out['pos_embed'][:, :1], out['pos_embed'][:, 1:]
            slots = [cls, torch.zeros_like(out['reg_token'])] if cls.any() else []
            out['pos_embed'] = torch.cat([*slots, patches], dim=1)
        if config.get('relative_position') or config.get('position') == 'rotary':  # timm's Beit and Eva
            out = {re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', name): tensor for name, tensor in out.items()}
            for name in [name for name in out if name.endswith('attn.qkv.bias')]:
                q, v = keyless_bias(config, name, out.pop(name), path)
                out[name.replace('qkv.bias', 'q_bias')], out[name.replace('qkv.bias', 'v_bias')] = q, v
        else:
            for name in [name for name in out if '.mlp.fc1_g.' in name]:
                out[name.replace('fc1_g', 'fc1')] = torch.cat([out.pop(name), out.pop(name.replace('fc1_g', 'fc1_x'))])
        return Written(out, left_out, how=_how_to_load(config, out))


def _how_to_load(config: dict, state: dict[str, Tensor]) -> str:
    """The lines that build timm's network from a file, as far as timm has it; empty otherwise."""
    if not is_our_vit(config):
        name = f'resnet{config["depth"]}' if is_resnet(state) and 'depth' in config else config.get('name')
        args = config.get('model_args', {})
        if set(config) - {'type', 'name', 'model_args', 'depth'} or not timm.is_model(str(name)):
            return ''
        return _create(name, args)
    full, sizes = {**DEFAULTS, **config}, sizes_of(config)
    known = next((name for name, known in ARCHITECTURES.items() if known == sizes), None)
    gated, rotary, scaled = full['mlp'] == 'swiglu', full['position'] == 'rotary', 'blocks.0.ls1.gamma' in state
    wanted: dict[str, Any] = dict(img_size=full['img_size'], patch_size=full['patch_size'], mlp_ratio=full['mlp_ratio'], **sizes)
    given: dict[str, Any] = dict(img_size=224, patch_size=16, mlp_ratio=4., **ARCHITECTURES[known or 'base'])
    side, norm_eps = full['img_size'] // full['patch_size'], 1e-6
    if full['relative_position']:
        if not full['final_norm']:
            return ''
        name = 'beit_base_patch16_224'
        given = {**given, **ARCHITECTURES['base'], 'init_values': .1, 'use_abs_pos_emb': False, 'global_pool': 'avg'}
        wanted.update(init_values=.1 if 'blocks.0.gamma_1' in state else None, use_abs_pos_emb='pos_embed' in state, global_pool='token')
    elif rotary:
        if not (full['final_norm'] and full['class_token']):
            return ''
        name, norm_eps = 'vit_base_patch16_dinov3_qkvb', 1e-5
        given = {**given, **ARCHITECTURES['base'], 'init_values': 1e-5, 'num_reg_tokens': 4, 'global_pool': 'avg', 'swiglu_mlp': False}
        wanted.update(init_values=1e-5 if 'blocks.0.gamma_1' in state else None, num_reg_tokens=full['num_registers'], swiglu_mlp=gated,
                      global_pool='token', **(dict(swiglu_align_to=1) if gated else {}))
    else:
        name = 'vit_giant_patch14_dinov2' if gated else f'vit_{known or "base"}_patch16_224'
        given = dict(init_values=1e-5, mlp_ratio=0) if gated else {**given, 'init_values': None}
        given.update(reg_tokens=0, class_token=True, final_norm=True, no_embed_class=False)
        wanted.update(init_values=1e-5 if scaled else None, mlp_ratio=full['mlp_ratio'] * (1 + gated), reg_tokens=full['num_registers'],
                      class_token=full['class_token'], final_norm=full['final_norm'],
                      no_embed_class=bool(full['num_registers']) and state['pos_embed'].shape[1] == side**2)
        if not full['class_token']:
            wanted.update(global_pool='avg', fc_norm=False)
    options = {key: value for key, value in wanted.items() if key not in given or given[key] != value}
    return _create(name, options, None if full['norm_eps'] == norm_eps else full['norm_eps'])


def _create(name: str, args: dict, norm_eps: float | None = None) -> str:
    options = ''.join(f', {key}={value!r}' for key, value in args.items())
    imports = 'import timm\n'
    if norm_eps is not None:
        imports += 'from functools import partial\nfrom torch import nn\n'
        options += f', norm_layer=partial(nn.LayerNorm, eps={norm_eps})'
    return f'{imports}model = timm.create_model({name!r}, num_classes=0, checkpoint_path={{file}}{options})'


class OfTimm(Layout):
    """A network that timm builds and we do not: CLIP's or SigLIP's image tower, or another that timm's ``config.json`` beside it names."""
    name = 'timm-network'
    ignored = ((r'(head|head_dist|fc|classifier)\.(fc\.)?(weight|bias)$', 'head of its training'), )

    def fits(self, net: Network) -> bool:
        named = timm.is_model(str(net.beside.get('architecture')))
        return net.has(r'^(norm_pre|attn_pool)\.') or named and unsupported(net.state) is not None

    def read(self, net: Network) -> tuple[dict[str, Tensor], dict, dict[str, str]]:
        state, ignored = self.translate(net)
        config = dict(type='mmdssl.TimmBackbone', name=net.beside.get('architecture'))  # no shape tells CLIP's two activations apart
        args = net.beside.get('model_args')
        return state, dict(config, model_args=args) if args else config, ignored

    def rename(self, name: str) -> str:
        return name
