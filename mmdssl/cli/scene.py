"""What is drawn: a network, images, and the views of a config."""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from mmdssl.checkpoint import backbone_config, load_backbone
from mmdssl.checkpoint.config_data import check_buildable
from mmdssl.checkpoint.config_data import read_config as read_stored_config
from mmdssl.checkpoint.download import is_address
from mmdssl.checkpoint.files import read_checkpoint
from mmdssl.cli.arguments import read_config
from mmdssl.datasets import ViewsPreprocessor
from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.crop_boxes import WholeImages, boxes_of_heat_maps
from mmdssl.datasets.images import find_images, read_rgb
from mmdssl.datasets.seeding import seeded
from mmdssl.engine.config_check import check_options
from mmdssl.engine.hooks import ContrastiveCropHook
from mmdssl.engine.pictures import Scene, spread
from mmdssl.errors import InputError
from mmdssl.models.algorithms import Algorithm
from mmdssl.registry import MODELS, TRANSFORMS


def build_scene(args: argparse.Namespace) -> tuple[Scene, str]:
    """Also why the config in the checkpoint is of no use, if there is one that is not."""
    content = None if is_address(args.checkpoint) or args.checkpoint.endswith('.safetensors') else read_checkpoint(args.checkpoint)
    algorithm, refused, cfg = None, '', None
    try:
        cfg = read_config(args) if args.config else config_of_run(args, content)
        algorithm = None if cfg is None else build_algorithm(cfg)
    except InputError as error:
        if args.config or args.cfg_options:
            raise
        cfg, refused = None, str(error)
    untrained = '' if algorithm is None else load_all(algorithm, content, args)
    if algorithm is None or untrained:
        backbone, normalise = load_backbone(args.checkpoint, get_device()), ViewsPreprocessor().to(get_device()).normalise
    else:
        backbone, normalise = algorithm.backbone, algorithm.data_preprocessor.normalise
    paths = find_all(args.images)
    size = args.size or (backbone.frame[0] * backbone.patch_size if hasattr(backbone, 'frame') else 224)
    images, used = read_images([paths[i] for i in spread(len(paths), max(args.bank, args.number))], size)
    shown = spread(len(used), args.number)
    order = shown + sorted(set(range(len(used))) - set(shown))
    dataset = build_views(cfg, [used[i] for i in shown], size, backbone, normalise)
    scene = Scene(backbone, normalise, images[order], len(shown), dataset, [(args.seed, 0, i) for i in range(len(shown))], algorithm,
                  untrained, cfg is None, args.foreground, tuple(args.patch), args.lines, args.grid, random_twin(args.checkpoint))
    return scene, refused


def random_twin(checkpoint: str) -> torch.nn.Module:
    """The network of a checkpoint with random weights, always the same ones."""
    with seeded(0):
        return MODELS.build(backbone_config(checkpoint)).to(get_device()).eval()


def config_of_run(args: argparse.Namespace, content: object) -> Config | None:
    """The config that a run's checkpoint carries, as far as nothing but networks and transforms of ours are built from it.

    Raises:
        InputError: Something else would be.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    stored = read_stored_config(meta.get('cfg')) if isinstance(meta, dict) else None
    source = ((stored or {}).get('train_dataloader') or {}).get('dataset') or {}
    if not isinstance((stored or {}).get('model'), dict) or 'views' not in source:
        return None
    cfg = Config(dict(stored, model=without_files(stored['model'])))
    check_options(cfg, args.cfg_options)
    cfg.merge_from_dict(args.cfg_options)
    check_buildable(cfg.model, args.checkpoint)
    source = cfg.train_dataloader.dataset
    foreign = [kind for kind in types_in([source.views, source.get('pipeline')])
               if str(kind).removeprefix('mmdssl.') not in TRANSFORMS.module_dict]
    if foreign:
        raise InputError(f'{args.checkpoint} carries a config whose views name {foreign[0]!r:.80}, which is no transform of ours: give it '
                         'as --config')
    return cfg


def without_files(model: Mapping) -> dict:
    """A config of networks whose weights come from elsewhere."""
    return {key: without_files(value) if isinstance(value, Mapping) else value for key, value in model.items() if key != 'init_cfg'}


def types_in(node: object) -> Iterator[object]:
    """Every ``type`` in a config."""
    if isinstance(node, Mapping):
        yield from [node['type']] if 'type' in node else []
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from types_in(child)


def build_algorithm(cfg: Config) -> Algorithm | None:
    """The method of a pretraining config; None for another model."""
    if 'views' not in (cfg.get('train_dataloader') or {}).get('dataset', {}):
        raise InputError(f'{cfg.filename} makes no views: give the config of a pretraining, such as configs/pretrain/pqcl.py')
    algorithm = MODELS.build(cfg.model)
    return algorithm.to(get_device()).eval() if isinstance(algorithm, Algorithm) else None


def load_all(algorithm: Algorithm, content: object, args: argparse.Namespace) -> str:
    """Load all weights of a run's checkpoint; returns why not, where it is another one."""
    state = content.get('state_dict') if isinstance(content, dict) else None
    if not isinstance(state, dict):
        return f'{args.checkpoint} is no checkpoint of a run: give its epoch_N.pth, which has the decoder beside the backbone'
    own = {name: tensor.shape for name, tensor in algorithm.state_dict().items()}
    wrong = sorted(name for name in own.keys() | state.keys()
                   if name not in state or own.get(name) != getattr(state[name], 'shape', None))
    if wrong:
        return (f'{args.checkpoint} is of another network than {args.config or "its config with --cfg-options"}: {len(wrong)} tensors are '
                f'not the same, first {wrong[0]}')
    algorithm.load_state_dict(state)
    return ''


def find_all(places: list[str]) -> list[str]:
    """The images that are named, and those of folders.

    Raises:
        InputError: There is nothing at a place.
    """
    paths = []
    for place in places:
        if not Path(place).exists():
            raise InputError(f"--images '{place}' does not exist: give folders of images, or images")
        paths += find_images(place) if Path(place).is_dir() else [place]
    return paths


def read_images(paths: list[str], size: int) -> tuple[Tensor, list[str]]:
    """The middle squares of images, ``(n, 3, size, size)`` uint8, and the paths of those that can be decoded."""
    images, used = [], []
    for path in paths:
        image = read_rgb(path)
        if image is None:
            print(f'{path} cannot be decoded, and is left out')
            continue
        image = F.center_crop(image, min(image.size))
        images.append(F.pil_to_tensor(F.resize(image, [size, size], InterpolationMode.BICUBIC)))
        used.append(path)
    if not images:
        raise InputError(f'none of the {len(paths)} images can be decoded, first {paths[0]}: repair them, or give others')
    return torch.stack(images), used


class Files(ImageDataset):
    """Views of the images at some paths."""

    def __init__(self, paths: list[str], **kwargs):
        self.paths = paths
        super().__init__(**kwargs)

    def load_paths(self) -> list[str]:
        return self.paths


def build_views(cfg: Config | None, paths: list[str], size: int, backbone: torch.nn.Module, normalise) -> ImageDataset:
    """The config's views of images, where ContrastiveCrop takes them from if it does; two plain crops without a config."""
    if cfg is None:
        return Files(paths, views=dict(global_=dict(size=size, scale=(0.3, 1.), num=2)))
    source = cfg.train_dataloader.dataset
    dataset = Files(paths, views=source.views, pipeline=source.get('pipeline', []))
    hook = contrastive_crop(cfg)
    if hook is not None and dataset.crop_boxes is not None and hasattr(backbone, 'heat_map'):
        whole = WholeImages(dataset, hook.size)
        pixels = torch.stack([whole[i]['image'] for i in range(len(whole))])
        dataset.crop_boxes.copy_(boxes_of_heat_maps(backbone.heat_map(normalise(pixels)), hook.size, hook.threshold))
    return dataset


def contrastive_crop(cfg: Config) -> ContrastiveCropHook | None:
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])):
        if hook and str(hook['type']).rpartition('.')[2] == ContrastiveCropHook.__name__:
            return ContrastiveCropHook(**{key: value for key, value in hook.items() if key not in ('type', 'priority')})
    return None
