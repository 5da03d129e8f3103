"""What a state dict with timm's or torchvision's names says about its network."""
from __future__ import annotations

import ast
import inspect
import json
import math
import re
from typing import Any

from torch import Tensor

from mmdssl.models.backbones.vision_transformer import VisionTransformer
from mmdssl.registry import MODELS

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(VisionTransformer).parameters.items()}

# What is the network's, of a stored config; the rest is what somebody did with it.
ARCHITECTURE = ('arch', 'patch_size', 'img_size', 'position', 'position_rule', 'relative_position', 'class_token',
                'pool', 'num_registers', 'mask_token', 'query_keys', 'mlp_ratio', 'layer_scale', 'final_norm')
OF_TIMM = ('name', 'model_args', 'stem_stride', 'stem_kernel', 'branches')

RESNETS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


def is_vit(state: dict[str, Tensor]) -> bool:
    return 'patch_embed.proj.weight' in state


def is_our_vit(config: dict) -> bool:
    return config['type'].endswith('.VisionTransformer')


def is_resnet(state: dict[str, Tensor]) -> bool:
    return any(re.match(r'layer[1-4]\.0\.conv1\.weight', name) for name in state)


def describe(state: dict[str, Tensor]) -> dict[str, Any]:
    """What shapes tell of a vision transformer, in the words of :class:`VisionTransformer`."""
    width, channels, patch_size = state['patch_embed.proj.weight'].shape[:3]
    hidden = state['blocks.0.mlp.fc1.weight'].shape[0] if 'blocks.0.mlp.fc1.weight' in state else 4 * width
    return dict(
        embed_dim=width,
        depth=1 + max((int(name.split('.')[1]) for name in state if name.startswith('blocks.')), default=-1),
        patch_size=patch_size,
        channels=channels,
        mlp_ratio=hidden / width,
        class_token='cls_token' in state,
        num_registers=state['reg_token'].shape[1] if 'reg_token' in state else 0,
        relative_position='blocks.0.attn.relative_position_bias_table' in state,
        layer_scale='blocks.0.ls1.gamma' in state,
        final_norm='norm.weight' in state)


def side_of_frame(state: dict[str, Tensor]) -> int | None:
    """Patches per side of the images that a network's tables of positions were made for."""
    table = state.get('pos_embed')
    if table is not None:
        return math.isqrt(table.shape[1])
    table = state.get('blocks.0.attn.relative_position_bias_table')
    return None if table is None else (math.isqrt(len(table) - 3) + 1) // 2


def vit_config(state: dict[str, Tensor], num_heads: int | None, position_rule: str) -> dict:
    """Config of our backbone for a state dict with our names, without what is default."""
    facts = describe(state)
    table = state.get('blocks.0.attn.relative_position_bias_table')
    side = side_of_frame(state)
    arch = dict(embed_dim=facts.pop('embed_dim'), depth=facts.pop('depth'),
                num_heads=num_heads if table is None else table.shape[1])
    position = 'learnable' if 'pos_embed' in state else 'none' if table is not None else 'sincos'
    config = {
        **{name: facts[name] for name in ARCHITECTURE if name in facts},
        'img_size': side * facts['patch_size'] if side else DEFAULTS['img_size'],
        'position': position,
        'position_rule': position_rule if position == 'learnable' else DEFAULTS['position_rule'],
        'mask_token': 'mask_token' in state,
        'layer_scale': 1e-5 if facts['layer_scale'] else None,  # its initial value, of which nothing is left
    }
    return dict(type='mmdssl.VisionTransformer', arch=arch,
                **{name: value for name, value in config.items() if value != DEFAULTS[name]})


def resnet_config(state: dict[str, Tensor], stored: dict) -> dict:
    """mmdet's config of a ResNet."""
    blocks = {tuple(name.split('.')[:2]) for name in state if name.startswith('layer')}
    stages = tuple(sum(stage == f'layer{i}' for stage, _ in blocks) for i in (1, 2, 3, 4))
    depth = 50 if stages == (3, 4, 6, 3) and 'layer1.0.conv3.weight' in state else RESNETS.get(stages)
    # No shape shows which convolution of a block has the stride.
    return dict(type='mmdet.ResNet', depth=depth, **({'style': 'caffe'} if stored.get('style') == 'caffe' else {}))


def stored_config(content: dict, metadata: dict[str, str], beside: dict) -> dict:
    """The config of the backbone that a checkpoint carries; empty where there is none.

    It is json under ``config`` (files of ours, converted ones), or ``model.backbone`` in the config of a run of
    MMEngine, of which literals are read and nothing is run.

    Args:
        content: Of the file.
        metadata: Of a safetensors file.
        beside: Content of Hugging Face's ``config.json`` in the same folder.
    """
    meta = content.get('meta')
    if isinstance(meta, dict) and isinstance(meta.get('cfg'), str):
        model = _literal_assignment(meta['cfg'], 'model')
        config = model.get('backbone') if isinstance(model, dict) else None
    else:
        try:
            config = json.loads(metadata.get('config', content.get('config')))
        except (TypeError, json.JSONDecodeError):
            config = beside.get('mmdssl')
    return config if isinstance(config, dict) and isinstance(config.get('type'), str) else {}


def own_config(config: dict) -> dict | None:
    """What defines the network, of a stored config of one of our backbones; None for others'."""
    name = config.get('type', '').rpartition('.')[2]
    if name not in MODELS.module_dict:
        return None
    known = dict(VisionTransformer=ARCHITECTURE, TimmBackbone=OF_TIMM)
    kept = known.get(name, [key for key in config if key not in ('type', 'init_cfg')])
    return dict(type=f'mmdssl.{name}', **{key: config[key] for key in kept if key in config})


def _literal_assignment(text: str, name: str) -> Any:
    """Value of ``name = ...`` in the text of a config; None where it is no literal."""
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == name:
                return _literal(statement.value)
    except (SyntaxError, ValueError):
        pass
    return None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)
