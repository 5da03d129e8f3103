"""What a state dict with timm's or torchvision's names says about its network."""
from __future__ import annotations

import inspect
import json
import math
import re
from typing import Any, get_type_hints

from torch import Tensor

from mmdssl.arguments import fits
from mmdssl.checkpoint.config_data import read_config
from mmdssl.errors import InputError
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES, VisionTransformer
from mmdssl.registry import MODELS

HINTS = get_type_hints(VisionTransformer.__init__, include_extras=True)
DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(VisionTransformer).parameters.items()}

# What is the network's, of a stored config; the rest is what somebody did with it.
ARCHITECTURE = ('arch', 'patch_size', 'img_size', 'position', 'position_rule', 'remainder', 'relative_position',
                'class_token', 'pool', 'num_registers', 'mask_token', 'query_keys', 'mlp_ratio', 'mlp', 'key_bias',
                'norm_eps', 'layer_scale', 'final_norm')
BACKBONES = ('VisionTransformer', 'TimmBackbone')
OF_TIMM = ('name', 'model_args', 'stem_stride', 'stem_kernel', 'branches')

RGB = tuple[float, float, float]
BLOCK = re.compile(r'blocks\.(\d{1,6})\.')

# Of tensors of which facts are read: their sides, None for any.
SHAPES = (
    (r'patch_embed\.proj\.weight', ('width', None, None, None)),
    (r'cls_token|mask_token', (1, 1, 'width')),
    (r'reg_token|pos_embed', (1, None, 'width')),
    (r'blocks\.\d+\.mlp\.fc1(_g)?\.weight', (None, 'width')),
    (r'rope_periods', (None, )),
    (r'.*relative_position_bias_table', (None, None)),
)
LARGEST_IMAGE = 8192  # pixels per side

RESNETS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


def is_vit(state: dict[str, Tensor]) -> bool:
    return 'patch_embed.proj.weight' in state


def is_our_vit(config: dict) -> bool:
    return config['type'].endswith('.VisionTransformer')


def is_resnet(state: dict[str, Tensor]) -> bool:
    return any(re.match(r'layer[1-4]\.0\.conv1\.weight', name) for name in state)


def check_shapes(path: str, state: dict[str, Tensor]) -> None:
    """Refuse tensors from whose shapes no vision transformer can be told.

    Raises:
        InputError: Naming one of them.
    """
    width = next(iter(state['patch_embed.proj.weight'].shape), None)
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        wanted = next((wanted for pattern, wanted in SHAPES if re.fullmatch(pattern, name)), None)
        fits = wanted is None or len(shape) == len(wanted) and all(
            side == (width if want == 'width' else want) for side, want in zip(shape, wanted) if want)
        if 0 in shape or not fits:
            words = f', not {"x".join(str(want or "any") for want in wanted)}' if wanted else ''
            raise InputError(f'{path} holds no vision transformer that can be used: {name} is of shape {"x".join(map(str, shape)) or "()"}'
                             f'{words}: it is damaged, or of another kind of network')
    blocks = {int(found[1]) for name in state if (found := BLOCK.match(name))}
    if blocks != set(range(len(blocks))):
        missing = next(i for i in range(max(blocks)) if i not in blocks)
        raise InputError(f'{path} has {len(blocks)} blocks up to number {max(blocks)}, and number {missing} is missing: the file is not '
                         'complete')


def describe(state: dict[str, Tensor]) -> dict[str, Any]:
    """What shapes tell of a vision transformer, in the words of :class:`VisionTransformer`."""
    width, channels, patch_size = state['patch_embed.proj.weight'].shape[:3]
    gated = 'blocks.0.mlp.fc1_g.weight' in state
    first = state.get(f'blocks.0.mlp.fc1{"_g" * gated}.weight')
    mlp_ratio = 4. if first is None else len(first) / width
    if first is not None and int(width * mlp_ratio) < len(first):
        mlp_ratio = math.nextafter(mlp_ratio, math.inf)
    return dict(
        embed_dim=width,
        depth=1 + max((int(found[1]) for name in state if (found := BLOCK.match(name))), default=-1),
        patch_size=patch_size,
        channels=channels,
        mlp_ratio=mlp_ratio,
        mlp='swiglu' if gated else 'gelu',
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
    return None if table is None else (math.isqrt(max(len(table) - 3, 0)) + 1) // 2


def vit_config(state: dict[str, Tensor], num_heads: int | None, position_rule: str, norm_eps: float = 1e-6,
               position: str | None = None, remainder: str = 'pad') -> dict:
    """Config of our backbone for a state dict with our names, without what is default; its ``position`` where no tensor tells it."""
    facts = describe(state)
    table = state.get('blocks.0.attn.relative_position_bias_table')
    side = side_of_frame(state)
    arch = dict(embed_dim=facts.pop('embed_dim'), depth=facts.pop('depth'),
                num_heads=num_heads if table is None else table.shape[1])
    shown = [kind for kind, name in dict(learnable='pos_embed', rotary='rope_periods').items() if name in state]
    position = position or (shown[0] if shown else 'none' if table is not None else 'sincos')
    keys = [tensor.chunk(3)[1] for name, tensor in state.items() if name.endswith('attn.qkv.bias')]
    config = {
        **{name: facts[name] for name in ARCHITECTURE if name in facts},
        'img_size': side * facts['patch_size'] if side else DEFAULTS['img_size'] - DEFAULTS['img_size'] % facts['patch_size'],
        'position': position,
        'position_rule': position_rule if position == 'learnable' else DEFAULTS['position_rule'],
        'remainder': remainder,
        'mask_token': 'mask_token' in state,
        'key_bias': position != 'rotary' or any(key.any() for key in keys),
        'norm_eps': norm_eps,
        'layer_scale': 1e-5 if facts['layer_scale'] else None,  # its initial value, of which nothing is left
    }
    return dict(type='mmdssl.VisionTransformer', arch=arch,
                **{name: value for name, value in config.items() if value != DEFAULTS[name]})


def sizes_of(config: dict) -> dict[str, int]:
    """``embed_dim``, ``depth`` and ``num_heads`` of a config of our vision transformer."""
    arch = config.get('arch', DEFAULTS['arch'])
    return ARCHITECTURES[arch] if isinstance(arch, str) else arch


def resnet_config(state: dict[str, Tensor], stored: dict) -> dict:
    """mmdet's config of a ResNet."""
    blocks = {tuple(name.split('.')[:2]) for name in state if name.startswith('layer')}
    stages = tuple(sum(stage == f'layer{i}' for stage, _ in blocks) for i in (1, 2, 3, 4))
    depth = 50 if stages == (3, 4, 6, 3) and 'layer1.0.conv3.weight' in state else RESNETS.get(stages)
    # No shape shows which convolution of a block has the stride.
    return dict(type='mmdet.ResNet', depth=depth, **({'style': 'caffe'} if stored.get('style') == 'caffe' else {}))


def check_config(path: str, config: dict, state: dict[str, Tensor]) -> None:
    """Compare the stored config of a vision transformer of ours with the tensors beside it.

    Raises:
        InputError: A value is out of range, or is not what the tensors show.
    """
    facts, given = describe(state), {**DEFAULTS, **config}
    arch = given['arch']
    sizes = ARCHITECTURES.get(arch) if isinstance(arch, str) else arch
    if not fits(arch, HINTS['arch']) or set(sizes) != set(ARCHITECTURES['tiny']):
        raise InputError(f'{path} carries a config with arch={_short(arch)}: that is one of {", ".join(ARCHITECTURES)}, or a dict of '
                         'embed_dim, depth and num_heads, which are at least 1')
    given.update(sizes)
    wrong = next((name for name in ARCHITECTURE if not fits(given[name], HINTS[name])), None)
    if not wrong and given['img_size'] > LARGEST_IMAGE:
        wrong = 'img_size'
    if wrong or given['embed_dim'] % given['num_heads']:
        wrong = wrong or 'num_heads'
        raise InputError(f'{path} carries a config with {wrong}={_short(given[wrong])}, of which no network can be built: it is damaged, '
                         'or was written by something else')
    width, side = facts['embed_dim'], side_of_frame(state)
    told = {**given, 'mlp_ratio': int(width * given['mlp_ratio']), 'layer_scale': given['layer_scale'] is not None,
            'relative_position': bool(given['relative_position']),
            'position': given['position'] == 'learnable', 'img_size': given['img_size'] // given['patch_size']}
    shown = {**facts, 'mlp_ratio': round(width * facts['mlp_ratio'])}
    if 'rope_periods' in state:
        shown['num_heads'] = width // (4 * len(state['rope_periods']))
    if facts['relative_position']:
        shown['num_heads'] = state['blocks.0.attn.relative_position_bias_table'].shape[1]
    if told['position']:
        shown['position'] = 'pos_embed' in state
    if side and (told['position'] or facts['relative_position']):
        shown['img_size'] = side
    different = [name for name, value in shown.items() if name in told and told[name] != value]
    if different:
        raise InputError(f'{path} does not fit the config that it carries: {different[0]} is {_short(given[different[0]])} there, and its '
                         'tensors show something else: one of them was changed, so copy or convert the file again')


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:80]}...'


def run_model(content: dict) -> dict:
    """The model in the config of the run that a checkpoint is of; empty where there is none."""
    meta = content.get('meta')
    model = (read_config(meta.get('cfg')) or {}).get('model') if isinstance(meta, dict) else None
    return model if isinstance(model, dict) else {}


def stored_config(model: dict, facts: dict, beside: dict) -> dict:
    """The config of the backbone that a checkpoint carries; empty where there is none.

    Args:
        model: Of :func:`run_model`.
        facts: What stands in the file beside its tensors; under ``config``, JSON in files of ours.
        beside: Content of Hugging Face's ``config.json`` in the same folder.
    """
    config = _backbone_in(model) if model else _from_json(facts.get('config')) or beside.get('mmdssl')
    return config if isinstance(config, dict) and isinstance(config.get('type'), str) else {}


def stored_pixels(model: dict, facts: dict, config: dict, processor: dict) -> dict[str, list[float]]:
    """By which ``mean`` and ``std`` of red, green and blue, from 0 to 1, images of a network are normalised; empty where nothing says it.

    Args: as :func:`stored_config`; of the same folder, ``config.json`` (timm's) and ``preprocessor_config.json`` (transformers').
    """
    places = (model.get('data_preprocessor'), 255), (_from_json(facts.get('pixels')), 1), (config.get('pretrained_cfg', config), 1), (
        {name.removeprefix('image_'): value for name, value in processor.items()}, 1)
    for place, unit in places:
        found = {name: place.get(name) for name in ('mean', 'std')} if isinstance(place, dict) else {}
        if found and all(fits(values, RGB) for values in found.values()) and min(found['std']) > 0:
            return {name: [round(value / unit, 6) for value in values] for name, values in found.items()}
    return {}


def _from_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _backbone_in(model: dict) -> dict | None:
    """The config of the backbone in that of a method, which may call it as it likes."""
    ours = [part for part in model.values() if isinstance(part, dict) and str(part.get('type')).removeprefix('mmdssl.') in BACKBONES]
    return model.get('backbone', ours[0] if len(ours) == 1 else None)


def own_config(config: dict) -> dict | None:
    """What defines the network, of a stored config of one of our backbones; None for others'."""
    name = config.get('type', '').rpartition('.')[2]
    if name not in MODELS.module_dict:
        return None
    known = dict(VisionTransformer=ARCHITECTURE, TimmBackbone=OF_TIMM)
    kept = known.get(name, [key for key in config if key not in ('type', 'init_cfg')])
    return dict(type=f'mmdssl.{name}', **{key: config[key] for key in kept if key in config})
