"""Write a backbone under the names of timm, Hugging Face or mmdssl."""
from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmdssl.checkpoint.architecture import DEFAULTS, is_our_vit, is_resnet
from mmdssl.checkpoint.files import whole_file
from mmdssl.checkpoint.fingerprint import stated
from mmdssl.checkpoint.huggingface import FAMILIES, to_huggingface
from mmdssl.checkpoint.pretrained import Pretrained, backbone_config, check_fit, read_pretrained
from mmdssl.errors import InputError
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES
from mmdssl.models.layers.position import integer_grid, sincos2d

FORMS = ('mmdssl', 'timm', 'huggingface')


def convert_checkpoint(source: str | Path, target: str | Path, form: str, network: str | None = None,
                       layout: str | None = None) -> list[str]:
    """Write the backbone of any checkpoint in another form; what comes back from it is the same to the bit.

    The file carries our config too, so that reading it again needs no guess: heads, rule and kind of positions.

    Args:
        source: See :func:`mmdssl.checkpoint.read_pretrained`.
        target: A ``.safetensors`` or ``.pth`` file. Hugging Face's form puts a ``config.json`` beside it, and wants the
            name ``model.safetensors``.
        form: ``'mmdssl'``, ``'timm'`` (torchvision's names for a ResNet) or ``'huggingface'``.
        network: See :func:`mmdssl.checkpoint.read_pretrained`.
        layout: The same.

    Returns:
        Names of tensors that have no place in the form and were left out.

    Raises:
        InputError: The checkpoint cannot be read, or the form cannot hold its network.
    """
    target = Path(target)
    if form not in FORMS:
        raise InputError(f'the form is one of {", ".join(FORMS)}, got {form!r}')
    if target.suffix not in ('.safetensors', '.pth'):
        raise InputError(f'{target} should end in .safetensors or .pth, which decides the format')
    if not target.parent.is_dir():
        raise InputError(f'the folder {target.parent} does not exist: make it first')
    given = read_pretrained(source, network, layout)
    config, state, left_out, beside = backbone_config(given), given.state, [], None
    if is_our_vit(config) or is_resnet(state):
        check_fit(given)
    if is_our_vit(config) and form == 'timm':
        state = _timm_state(given)
        left_out = [name for name in ('mask_token', ) if name in given.state]
    elif form == 'huggingface':
        family = _family(given)
        state, beside = _huggingface_state(given, family), _huggingface_config(given, family)
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    if beside:
        _write_config_json(target.with_name('config.json'), dict(beside, mmdssl=config))
    with whole_file(target) as partial:
        if target.suffix == '.safetensors':
            save_file(state, partial, stated(state, dict(format='pt', config=json.dumps(config))))
        else:
            torch.save(state if beside else dict(state_dict=state, **stated(state, dict(config=json.dumps(config)))), partial)
    return left_out


def _write_config_json(path: Path, config: dict) -> None:
    if path.exists() and '"mmdssl"' not in path.read_text():
        raise InputError(f'{path} is there already and belongs to something else: give the target a folder of its own')
    with whole_file(path) as partial:
        partial.write_text(json.dumps(config, indent=2) + '\n')


def _with_table(given: Pretrained) -> dict[str, Tensor]:
    """The state with fixed positions written out as the table that other libraries need."""
    state, config = dict(given.state), {**DEFAULTS, **given.config}
    if config['position'] == 'sincos' and 'pos_embed' not in state:
        weight = state['patch_embed.proj.weight']
        side = config['img_size'] // config['patch_size']
        patches = sincos2d(*integer_grid((side, side)).unbind(-1), weight.shape[0])[None]
        cls = patches.new_zeros(1, int('cls_token' in state), weight.shape[0])
        state['pos_embed'] = torch.cat([cls, patches], dim=1).to(weight)
    return state


def _timm_state(given: Pretrained) -> dict[str, Tensor]:
    """Names of timm's ``VisionTransformer``, or of its ``Beit`` for relative positions."""
    state = _with_table(given)
    state.pop('mask_token', None)
    if 'reg_token' in state and 'pos_embed' in state:  # registers have slots, unless CLS has none (no_embed_class)
        cls, patches = state['pos_embed'][:, :1], state['pos_embed'][:, 1:]
        slots = [cls, torch.zeros_like(state['reg_token'])] if cls.any() else []
        state['pos_embed'] = torch.cat([*slots, patches], dim=1)
    if 'blocks.0.attn.relative_position_bias_table' in state:
        state = {re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', name): tensor for name, tensor in state.items()}
        for name in [name for name in state if name.endswith('attn.qkv.bias')]:
            q, v = _without_key_bias(given, name, state.pop(name))
            state[name.replace('qkv.bias', 'q_bias')], state[name.replace('qkv.bias', 'v_bias')] = q, v
    return state


def _without_key_bias(given: Pretrained, name: str, bias: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = bias.chunk(3)
    if k.any():
        raise InputError(f'{given.path} cannot be written as a BEiT, whose keys have no bias: {name} has one')
    return q, v


def _family(given: Pretrained) -> str:
    """Which of Hugging Face's models can hold a network."""
    state, config = given.state, {**DEFAULTS, **given.config}
    relative, scaled = config['relative_position'], 'blocks.0.ls1.gamma' in state
    needs = {
        'a vision transformer': is_our_vit(config),
        'a class token': 'cls_token' in state,
        'a final norm': 'norm.weight' in state,
        'positions': config['position'] != 'none' or relative,
        'LayerScale beside registers': scaled or not config['num_registers'],
    }
    for need, met in needs.items():
        if not met:
            raise InputError(f"{given.path} cannot be written in Hugging Face's form, which needs {need}: write timm's")
    if relative:
        return 'beit'
    return 'dinov2_with_registers' if config['num_registers'] else 'dinov2' if scaled else 'vit'


def _huggingface_state(given: Pretrained, family: str) -> dict[str, Tensor]:
    state = {}
    for name, tensor in _with_table(given).items():
        if '.attn.qkv.' in name:
            for part, values in zip('qkv', tensor.chunk(3)):
                if family != 'beit' or part != 'k' or name.endswith('weight'):
                    state[to_huggingface(name.replace('.qkv.', f'.{part}.'), family)] = values
                else:
                    _without_key_bias(given, name, tensor)
        else:
            if name == 'mask_token' and family.startswith('dinov2'):
                tensor = tensor[0]
            state[to_huggingface(name, family)] = tensor
    return state


def _huggingface_config(given: Pretrained, family: str) -> dict:
    """What ``config.json`` needs to build the model of a family."""
    config = {**DEFAULTS, **given.config}
    arch = ARCHITECTURES[config['arch']] if isinstance(config['arch'], str) else config['arch']
    common = dict(model_type=family, architectures=[FAMILIES[family]], hidden_size=arch['embed_dim'],
                  num_hidden_layers=arch['depth'], num_attention_heads=arch['num_heads'], hidden_act='gelu',
                  patch_size=config['patch_size'], image_size=config['img_size'], num_channels=3, layer_norm_eps=1e-6,
                  qkv_bias=True)
    if family.startswith('dinov2'):
        if config['num_registers']:
            common['num_register_tokens'] = config['num_registers']
        ratio = config['mlp_ratio']
        return dict(common, mlp_ratio=int(ratio) if ratio == int(ratio) else ratio)
    common['intermediate_size'] = round(arch['embed_dim'] * config['mlp_ratio'])
    if family == 'beit':
        common.update(use_relative_position_bias=True, use_mean_pooling=False,
                      use_mask_token='mask_token' in given.state,
                      use_absolute_position_embeddings='pos_embed' in given.state,
                      layer_scale_init_value=0.1 if 'blocks.0.ls1.gamma' in given.state else 0)
    return common
