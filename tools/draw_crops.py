"""Draw what a network looks at and the crops of ContrastiveCrop that follow from it, for some photos."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

import mmdssl  # noqa: F401  registers everything
from mmdssl.checkpoint import load_backbone
from mmdssl.cli.arguments import add_options, read_config
from mmdssl.cli.guard import guarded
from mmdssl.datasets import ImageFolder, ViewsPreprocessor
from mmdssl.datasets.crop_boxes import WholeImages, boxes_of_heat_maps
from mmdssl.engine.hooks import ContrastiveCropHook
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS
from mmdssl.visualization import draw_crops


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', metavar='CONFIG', help='pretraining config with ContrastiveCropHook')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='weights of the backbone that looks, any known format')
    parser.add_argument('--images', required=True, metavar='FOLDER', help='folder of photos')
    parser.add_argument('--number', type=int, default=4, help='how many of them, the first in the order of their names')
    parser.add_argument('--out', default='crops.png', metavar='PNG', help='the picture to write')
    parser.add_argument('--seed', type=int, default=0, help='of the crops')
    add_options(parser)
    parser.set_defaults(work_dir=None, launcher='none')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    if args.number < 1 or args.seed < 0:
        raise InputError(f'--number {args.number} must be 1 or more, and --seed {args.seed} not negative')
    if not out.parent.is_dir() or out.suffix.lower() not in Image.registered_extensions():
        raise InputError(f'the folder of --out {out} must exist, and its name end in .png')
    cfg = read_config(args)
    hook = hook_of(cfg)
    backbone = load_backbone(args.checkpoint)
    if not hasattr(backbone, 'heat_map'):
        raise InputError(f'{args.checkpoint} is a {type(backbone).__name__}, which cannot say where it looks: use '
                         'another one')
    dataset = photos(cfg, args.images, args.number)
    images = WholeImages(dataset, hook.size)
    whole = [images[i] for i in range(len(dataset))]
    unreadable = [dataset.get_data_info(item['index'])['img_path'] for item in whole if not item['readable']]
    if unreadable:
        raise InputError(f'{unreadable[0]} cannot be decoded: repair or remove it')
    maps = backbone.heat_map(ViewsPreprocessor().normalise(torch.stack([item['image'] for item in whole])))
    dataset.crop_boxes.copy_(boxes_of_heat_maps(maps, hook.size, hook.threshold))
    draw_crops([dataset.whole_image(i) for i in range(len(dataset))], maps, dataset.crop_boxes,
               [dataset[(args.seed, 0, i)] for i in range(len(dataset))], out)
    print(f'{out}: {len(dataset)} photos')


def hook_of(cfg: Config) -> ContrastiveCropHook:
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])):
        if hook and HOOKS.get(hook['type']) is ContrastiveCropHook:
            return HOOKS.build(hook)
    raise InputError(f'{cfg.filename} has no ContrastiveCropHook: give a config that has, such as '
                     'configs/pretrain/bam_contrastive-crop.py')


def photos(cfg: Config, folder: str, number: int) -> ImageFolder:
    """Photos with the config's views that follow boxes, in their own colours and not mirrored."""
    recipes = {name: recipe for name, recipe in cfg.train_dataloader.dataset.views.items()
               if recipe and recipe.get('box_alpha') is not None}
    if not recipes:
        raise InputError(f'{cfg.filename} has no views that follow boxes: give the groups of train_dataloader.dataset.views '
                         '(global_, local) box_alpha=0.6')
    dataset = ImageFolder(folder, indices=number, pipeline=cfg.train_dataloader.dataset.get('pipeline', []), views=recipes)
    for crop in dataset.views.values():
        crop.photometric = [None] * len(crop.photometric)
        crop.mask, crop.flip = None, 0.
    return dataset


if __name__ == '__main__':
    sys.exit(main())
