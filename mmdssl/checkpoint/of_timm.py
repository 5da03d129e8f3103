"""timm's vision transformers, read and written, and what timm builds and we do not."""
from __future__ import annotations

import re
from typing import Any

import timm
import torch
from timm.layers import to_2tuple
from torch import Tensor

from mmdssl.checkpoint.architecture import ARCHITECTURES, DEFAULTS, is_our_vit, is_resnet, sizes_of
from mmdssl.checkpoint.layout import Layout, Pretrained, TransformerLayout, Written, keyless_bias, require_usual_periods, with_table
from mmdssl.checkpoint.networks import Network, unsupported
from mmdssl.checkpoint.weights import check_weights


class Timm(TransformerLayout):
    """A plain network without a head or LayerScale is taken for timm's in a safetensors file, and for DINO's otherwise."""
    name = 'timm'
    position_rule = 'antialias'

    def fits(self, net: Network) -> bool:
        return net.safetensors or net.has(r'^(head|fc_norm)\.|^reg_token$|\.ls1\.gamma$')

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        return super().config(net, state, **_hidden_facts(net))

    def written(self, given: Pretrained) -> Written:
        out, left_out = dict(given.state), []
        if is_our_vit(given.config):
            require_usual_periods(given)
            left_out = [name for name in ('mask_token', 'rope_periods') if name in out]
            out = _as_timm_has_it(given, {name: tensor for name, tensor in with_table(given).items() if name not in left_out})
        call, images = (_call_of_ours(given, out) if is_our_vit(given.config) else _call_of_theirs(given)), _images(given)
        if call is None:
            return Written(out, left_out)
        name, args, norm_eps = call
        options = ''.join(f', {key}={value!r}' for key, value in args.items())
        imports, norm, beside = '', '', {}
        if norm_eps:  # which only a program can tell timm
            imports, norm = 'from functools import partial\nfrom torch import nn\n', f', norm_layer=partial(nn.LayerNorm, eps={norm_eps})'
        else:
            beside['config.json'] = dict(architecture=name, num_classes=0, model_args=args, pretrained_cfg=images, mmdssl=given.config)
        return Written(out, left_out, beside, (
            f'import timm\n{imports}model = timm.create_model({name!r}, num_classes=0, checkpoint_path={{file}}{options}{norm},\n'
            f'                          pretrained_cfg_overlay={images!r})\n'
            'transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))'))


def _hidden_facts(net: Network) -> dict[str, Any]:
    """Heads and epsilon of the network that ``config.json`` beside a file names, which no shape shows; nothing where it is another one."""
    name, args = str(net.beside.get('architecture')), net.beside.get('model_args') or {}
    if not timm.is_model(name):
        return {}
    try:
        with torch.device('meta'):
            built = timm.create_model(name, **{**args, 'num_classes': 0})
        block = built.blocks[0]
        facts = dict(num_heads=block.attn.num_heads, norm_eps=block.norm1.eps)
    except Exception:  # whatever a constructor makes of what somebody wrote there
        return {}
    same = (net.state.get(key, tensor).shape == tensor.shape for key, tensor in built.state_dict().items() if key != 'pos_embed')
    return facts if all(same) else {}


def _as_timm_has_it(given: Pretrained, out: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names and shapes of timm's VisionTransformer, Beit or Eva."""
    if 'reg_token' in out and 'pos_embed' in out:  # registers have slots, unless CLS has none (no_embed_class)
        cls, patches = out['pos_embed'][:, :1], out['pos_embed'][:, 1:]
        slots = [cls, torch.zeros_like(out['reg_token'])] if cls.any() else []
        out['pos_embed'] = torch.cat([*slots, patches], dim=1)
    if given.config.get('relative_position') or given.config.get('position') == 'rotary':
        out = {re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', name): tensor for name, tensor in out.items()}
        for name in [name for name in out if name.endswith('attn.qkv.bias')]:
            del out[name]
            out[name.replace('qkv.bias', 'q_bias')], out[name.replace('qkv.bias', 'v_bias')] = keyless_bias(given, name)
    else:
        for name in [name for name in out if '.mlp.fc1_g.' in name]:
            out[name.replace('fc1_g', 'fc1')] = torch.cat([out.pop(name), out.pop(name.replace('fc1_g', 'fc1_x'))])
    return out


def _images(given: Pretrained) -> dict[str, Any]:
    """What ``pretrained_cfg`` says of images as the protocols of this package see them."""
    size = {**DEFAULTS, **given.config}['img_size'] if is_our_vit(given.config) else given.config.get('model_args', {}).get('img_size')
    known = dict(input_size=(3, *to_2tuple(size))) if size else {}
    return dict(known, **given.pixels, interpolation='bicubic', crop_pct=0.875)


def _call_of_theirs(given: Pretrained) -> tuple[str, dict[str, Any], None] | None:
    """How timm builds a network that is not our own: its name and arguments; None where it cannot."""
    config = given.config
    name = f'resnet{config["depth"]}' if is_resnet(given.state) and 'depth' in config else str(config.get('name'))
    own = set(config) - {'type', 'name', 'model_args', 'depth'}
    return (name, config.get('model_args', {}), None) if timm.is_model(name) and not own else None


def _call_of_ours(given: Pretrained, out: dict[str, Tensor]) -> tuple[str, dict[str, Any], float | None] | None:
    """The same of our vision transformer, whose tensors there are ``out``, and the epsilon of its norms unless the name implies it."""
    config, sizes = {**DEFAULTS, **given.config}, sizes_of(given.config)
    gated, registers, scaled = config['mlp'] == 'swiglu', config['num_registers'], config['layer_scale'] is not None
    args = dict(img_size=config['img_size'], patch_size=config['patch_size'], mlp_ratio=config['mlp_ratio'], **sizes)
    usual = dict(img_size=224, patch_size=16, mlp_ratio=4., **ARCHITECTURES['base'])  # what goes with the name
    norm_eps = 1e-6
    if config['relative_position']:
        if not config['final_norm']:
            return None
        name = 'beit_base_patch16_224'
        args.update(init_values=.1 if scaled else 0., use_abs_pos_emb='pos_embed' in out, global_pool='token')
        usual.update(init_values=.1, use_abs_pos_emb=False)
    elif config['position'] == 'rotary':
        if not (config['final_norm'] and config['class_token'] and scaled):
            return None
        name, norm_eps = 'vit_base_patch16_dinov3_qkvb', 1e-5
        args.update(num_reg_tokens=registers, swiglu_mlp=gated, swiglu_align_to=int(gated), global_pool='token')
        usual.update(num_reg_tokens=4, swiglu_mlp=False, swiglu_align_to=0)
    else:
        known = next((known for known, same in ARCHITECTURES.items() if same == sizes), 'base')
        name = 'vit_giant_patch14_dinov2' if gated else f'vit_{known}_patch16_224'
        args.update(mlp_ratio=config['mlp_ratio'] * (1 + gated), init_values=1e-5 if scaled else None, reg_tokens=registers,
                    class_token=config['class_token'], final_norm=config['final_norm'],
                    no_embed_class=registers > 0 and out['pos_embed'].shape[1] == (config['img_size'] // config['patch_size'])**2)
        usual = dict(init_values=1e-5) if gated else dict(usual, init_values=None, **ARCHITECTURES[known])
        usual.update(reg_tokens=0, class_token=True, final_norm=True, no_embed_class=False)
        if not config['class_token']:
            args.update(global_pool='avg', fc_norm=False)
    args = {key: value for key, value in args.items() if key not in usual or usual[key] != value}
    return name, args, None if config['norm_eps'] == norm_eps else config['norm_eps']


class OfTimm(Layout):
    """A network that timm builds and we do not: CLIP's or SigLIP's image tower, or another that timm's ``config.json`` beside it names."""
    name = 'timm-network'
    ignored = ((r'(head|head_dist|fc|classifier)\.(fc\.)?(weight|bias)$', 'head of its training'), )

    def fits(self, net: Network) -> bool:
        named = timm.is_model(str(net.beside.get('architecture')))
        return net.has(r'^(norm_pre|attn_pool)\.') or named and unsupported(net.state) is not None

    def check(self, net: Network) -> None:
        check_weights(net.path, net.state)

    def config(self, net: Network, state: dict[str, Tensor]) -> dict:
        config = dict(type='mmdssl.TimmBackbone', name=net.beside.get('architecture'))  # no shape tells CLIP's two activations apart
        args = net.beside.get('model_args')
        args = {key: value for key, value in (args.items() if isinstance(args, dict) else ())
                if key != 'num_classes' and (key, value) != ('in_chans', 3)}  # which timm states, and we take as read
        return dict(config, model_args=args) if args else config
