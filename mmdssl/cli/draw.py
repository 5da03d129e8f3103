"""Draw what a network sees and has learned.

As attention, features in colours, neighbours, matches, views, queries and reconstructions. Attention, features and neighbours
are drawn of any known weights. What the method's views are needed for (crops, boxes, reconstruction) is drawn of a run's
epoch_N.pth, which has its config in it, or with --config.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmdssl.cli.arguments import add_options
from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError

if TYPE_CHECKING:
    from mmdssl.engine.pictures import Scene

# Of mmdssl.engine.pictures, whose import takes seconds.
PICTURES = ('attention', 'pca', 'neighbours', 'patches', 'matches', 'crops', 'boxes', 'reconstruction')
OF_A_RUN = ('crops', 'boxes', 'reconstruction')


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: see :func:`mmdssl.cli.guard.guarded`."""
    args = parse_args(argv)
    return guarded(lambda: run(args))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='weights of any known format, or the epoch_N.pth of a run')
    parser.add_argument('--images', nargs='+', required=True, metavar='PATH', help='folders of images, or images')
    parser.add_argument('--what', nargs='+', choices=PICTURES, metavar='PICTURE',
                        help=f'of {", ".join(PICTURES)}; all that can be drawn by default')
    parser.add_argument('--out', default='pictures', metavar='DIR', help='folder to write PNG files to')
    parser.add_argument('--config', help='pretraining config whose views are drawn, if not that in the checkpoint')
    parser.add_argument('--number', type=int, default=5, help='how many images are drawn, at even distances in the order of their names')
    parser.add_argument('--bank', type=int, default=200, help='among how many images neighbours are looked for')
    parser.add_argument('--size', type=int, help='side of the images in pixels; by default what the network was made for')
    parser.add_argument('--foreground', action='store_true', help='pca: leave out what the first component takes for the background')
    parser.add_argument('--patch', type=float, nargs=2, default=(0.5, 0.5), metavar=('X', 'Y'),
                        help='patches: the place in the image, from 0 0 at its left upper corner to 1 1')
    parser.add_argument('--grid', type=int, metavar='S', help='matches: compare S x S cells; by default those of the last map')
    parser.add_argument('--lines', type=int, default=16, help='matches: how many of each image')
    parser.add_argument('--seed', type=int, default=0, help='of the views')
    add_options(parser)
    parser.set_defaults(work_dir=None, launcher='none')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    check_arguments(args)
    import torch

    from mmdssl.cli.scene import build_scene
    with torch.no_grad():
        draw(args, *build_scene(args))


def draw(args: argparse.Namespace, scene: Scene, refused: str) -> None:
    from mmdssl.engine import pictures
    out = Path(args.out)
    drawn, left_out = [], []
    for name in args.what or PICTURES:
        try:
            picture = pictures.PICTURES[name](scene)
        except InputError as error:
            if args.what:
                raise InputError(f'{name}: {refused if refused and name in OF_A_RUN else error}') from None
            left_out.append(name)
            continue
        out.mkdir(parents=True, exist_ok=True)
        picture.save(out / f'{name}.png')
        drawn.append(name)
        print(f'{out / name}.png: {picture.width} x {picture.height} px')
    if not drawn:
        raise InputError(f'nothing can be drawn of {args.checkpoint}: name a picture after --what to learn why')
    if left_out:
        print(f'not drawn: {", ".join(left_out)}; name one after --what to learn why')


def check_arguments(args: argparse.Namespace) -> None:
    for name in ('number', 'bank', 'size', 'grid', 'lines'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f'--{name} {value} must be 1 or more')
    if args.seed < 0 or not all(0 <= share <= 1 for share in args.patch):
        raise InputError(f'--seed {args.seed} must not be negative, and both numbers of --patch {args.patch} be from 0 to 1')
    if Path(args.out).exists() and not Path(args.out).is_dir():
        raise InputError(f"--out '{args.out}' is a file: give a folder")
    if args.cfg_options and not args.config and not args.checkpoint.endswith('.pth'):
        raise InputError('--cfg-options has no config to change: give a --config')
