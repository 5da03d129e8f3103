"""What backbones are called in tables."""
from __future__ import annotations

from collections.abc import Mapping

from mmdssl.models.backbones.vision_transformer import ARCHITECTURES


def plain_config(cfg: Mapping) -> Mapping:
    """The config of the network itself, where it is inside :class:`mmdssl.models.backbones.PositionFree`."""
    while isinstance(cfg.get('backbone'), Mapping):
        cfg = cfg['backbone']
    return cfg


def backbone_name(cfg: Mapping) -> str:
    """``vit-s/16``, ``resnet50``, ``caformer-m36``; for a transformer of other sizes ``vit-4x128/8`` (depth, width, patch), for a
    network of timm's that was changed ``resnet18-custom``, for one that was made free of positions ``vit-s/16-position-free``."""
    if plain_config(cfg) is not cfg:
        return f'{backbone_name(plain_config(cfg))}-position-free'
    package, kind = cfg['type'].partition('.')[0], cfg['type'].rpartition('.')[2]
    ours = package in (kind, 'mmdssl')
    if ours and kind == 'TimmBackbone':
        custom = cfg.get('model_args') or cfg.get('stem_stride') or cfg.get('stem_kernel') or cfg.get('branches', 1) > 1
        return cfg['name'].split('.')[0].replace('_', '-') + ('-custom' if custom else '')
    if not ours or kind != 'VisionTransformer':
        return f'{kind.lower()}{cfg.get("depth", "")}'
    arch = cfg.get('arch', 'small')
    sizes = ARCHITECTURES[arch] if isinstance(arch, str) else arch
    names = {(known['embed_dim'], known['depth']): name[0] for name, known in ARCHITECTURES.items()}
    size = names.get((sizes['embed_dim'], sizes['depth']), f'{sizes["depth"]}x{sizes["embed_dim"]}')
    return f'vit-{size}/{cfg.get("patch_size", 16)}'
