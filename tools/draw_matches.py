"""Draw which places of two views of a photo a network takes for the same (DenseCL's correspondence)."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import DictAction

import mmdssl  # noqa: F401  registers everything
from mmdssl.checkpoint import load_backbone
from mmdssl.cli.arguments import read_config
from mmdssl.cli.guard import guarded
from mmdssl.datasets import ImageFolder, ViewsPreprocessor
from mmdssl.errors import InputError
from mmdssl.models.algorithms.densecl import most_alike
from mmdssl.visualization import draw_matches


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', metavar='CONFIG', help='pretraining config with two global views')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='weights of the backbone, any known format')
    parser.add_argument('--images', required=True, metavar='FOLDER', help='folder of photos')
    parser.add_argument('--number', type=int, default=4, help='how many of them, the first in the order of their names')
    parser.add_argument('--grid', type=int, metavar='S', help='compare S x S cells; by default those of the last map')
    parser.add_argument('--lines', type=int, default=16, help='matches to draw per photo, the surest ones')
    parser.add_argument('--out', default='matches.png', metavar='PNG', help='the picture to write')
    parser.add_argument('--seed', type=int, default=0, help='of the views')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='change values of the config, for instance train_dataloader.dataset.views.global_.size=448')
    parser.set_defaults(work_dir=None, launcher='none')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    if min(args.number, args.lines, args.grid or 1) < 1 or not out.parent.is_dir():
        raise InputError(f'--number {args.number}, --lines {args.lines} and --grid must be 1 or more, and the folder of --out {out} must '
                         'exist')
    source = read_config(args).train_dataloader.dataset
    views = dict(global_=dict(source.views.global_, mask=None))
    dataset = ImageFolder(args.images, indices=args.number, pipeline=source.get('pipeline', []), views=views)
    images = torch.stack([dataset[(args.seed, 0, i)]['global'].images for i in range(len(dataset))], dim=1)
    if len(images) != 2:
        raise InputError(f'{args.config} makes {len(images)} global views, and two are compared: give it num=2 or two photometric recipes')
    backbone, preprocessor = load_backbone(args.checkpoint), ViewsPreprocessor()
    maps = [backbone(preprocessor.normalise(view))[-1] for view in images]
    side = args.grid or maps[0].shape[-1]
    matches, similarity = most_alike(*(F.adaptive_avg_pool2d(cells, side).flatten(2).transpose(1, 2) for cells in maps))
    draw_matches(*images, matches, similarity, out, args.lines)
    print(f'{out}: {len(dataset)} photos, {side} x {side} cells, mean cosine of the matches {similarity.mean():.2f}')


if __name__ == '__main__':
    sys.exit(main())
