"""Point a config at the backbone of a checkpoint."""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mmengine.config import Config, ConfigDict

from mmdssl.checkpoint import backbone_config
from mmdssl.errors import InputError
from mmdssl.models.backbones.names import backbone_name, plain_config
from mmdssl.models.backbones.vision_transformer import ARCHITECTURES
from mmdssl.registry import MODELS

# What a task decides about a backbone; all else follows from the checkpoint.
OF_THE_TASK = ('out_indices', 'out_norm', 'pyramid', 'window_size', 'global_blocks', 'checkpointing', 'frozen', 'drop_path_rate')

# Models that take the features of any kind of backbone.
OF_ANY_KIND = ('Correspondence', 'DepthProbe', 'FrozenBackbone', 'ImageDescriptor', 'LinearProbe', 'LinearSegmentation')

# Those with torchvision's names, whichever package builds them.
PLAIN_RESNET = re.compile(r'resnet\d+')


def use_weights(cfg: Config, checkpoint: str, network: str | None = None, load: bool = True) -> None:
    """Make ``model.backbone`` the network of a checkpoint, of any size, and let it load its weights.

    The blocks whose maps are used stay at the same relative depth; necks and heads follow the width. A plain ResNet stays what
    the config builds.

    Args:
        cfg: The config, changed in place.
        checkpoint: A file that :func:`mmdssl.checkpoint.backbone_config` understands.
        network: ``'teacher'`` or ``'student'``, where the file has both; None for what its authors evaluate.
        load: Load the weights; otherwise the network starts from random ones.

    Raises:
        InputError: The file is no such checkpoint, or holds another kind of network than the config, or the model has no ``backbone``.
    """
    old = cfg.model.get('backbone')
    if old is None:
        raise InputError(f'{cfg.filename} has no model.backbone to load {checkpoint} into: give the dict of the network, by whatever name, '
                         "init_cfg=dict(type='SSLPretrained', checkpoint=...)")
    whole = backbone_config(checkpoint, network)
    found = plain_config(whole)
    kinds = {config['type'].rpartition('.')[2] for config in (found, old)}
    resizable = kinds in ({'VisionTransformer'}, {'TimmBackbone'}) or str(cfg.model.get('type')).rpartition('.')[2] in OF_ANY_KIND
    if not resizable and not all(PLAIN_RESNET.fullmatch(backbone_name(config)) for config in (found, old)):
        raise InputError(f'{checkpoint} holds a {found["type"]} and {cfg.filename} has a {old.type} as backbone: use a config for that '
                         'kind of network')
    init = dict(type='SSLPretrained', checkpoint=str(checkpoint), network=network) if load else None
    if not resizable:
        old.init_cfg = init
        if 'shared_head' in cfg.model.get('roi_head', {}):  # its last stage (C4)
            cfg.model.roi_head.shared_head.init_cfg = init
        return
    task = {key: old[key] for key in OF_THE_TASK if key in old}
    if 'mask_token' in found:  # a distributed run would wait for the gradient of one that masks nothing
        found = dict(found, mask_token=old.get('mask_token', False))
    if kinds == {'VisionTransformer'}:
        before, after = (_sizes(backbone)['depth'] for backbone in (old, found))
        for key in ('out_indices', 'global_blocks'):
            if key in task:
                task[key] = [_same_depth(i, before, after) for i in task[key]]
        if len(set(task.get('out_indices', ()))) < len(task.get('out_indices', ())):
            raise InputError(f'{checkpoint} holds a network of {after} blocks, and {cfg.filename} takes maps from '
                             f'{len(task["out_indices"])} different ones: use a deeper network')
    found = dict(found, **task)
    cfg.model.backbone = ConfigDict(_around(whole, found), init_cfg=init)
    parts = [cfg.model.neck] if cfg.model.get('neck') else [cfg.model.get('decode_head'), cfg.model.get('auxiliary_head')]
    for part in filter(None, parts):
        _follow_width(part, *(_widths(backbone) for backbone in (old, found)))


def _around(whole: Mapping, plain: Mapping) -> Mapping:
    """The config of a network with another one for the network itself, see :func:`plain_config`."""
    return plain if plain_config(whole) is whole else dict(whole, backbone=_around(whole['backbone'], plain))


def _sizes(backbone: Mapping) -> Mapping:
    arch = backbone.get('arch', 'small')
    return ARCHITECTURES[arch] if isinstance(arch, str) else arch


def _same_depth(index: int, before: int, after: int) -> int:
    return index if index < 0 else max(round((index + 1) * after / before) - 1, 0)


def _widths(backbone: Mapping) -> Sequence[int]:
    """Channels of the maps."""
    if 'name' in backbone:  # only timm knows
        return MODELS.build(dict(backbone, init_cfg=None)).channels
    return [_sizes(backbone)['embed_dim']] * len(backbone.get('out_indices', [None]))


def _follow_width(part: ConfigDict, old: Sequence[int], new: Sequence[int]) -> None:
    width = part.get('in_channels')
    if width is None:
        return
    single = isinstance(width, int)
    widths = [width] if single else list(width)
    maps = part.get('in_index', [i for i in range(len(old)) if old[i] == width][:1] if single else range(len(old)))
    maps = [maps] if isinstance(maps, int) else maps
    if [old[i] for i in maps] != widths:
        raise InputError(f'{part.type} has in_channels={width}, and the maps of the backbone are {", ".join(map(str, old))} wide: '
                         'make them agree')
    part.in_channels = new[maps[0]] if single else [new[i] for i in maps]
    if not single and part.get('num_convs') == 0:  # a linear head: the maps side by side
        part.channels = sum(part.in_channels)
