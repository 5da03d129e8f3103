"""Render mmdssl's sample world: labelled images, instances, label maps and clips."""
from __future__ import annotations

import argparse

from mmdssl.cli.guard import guarded


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: see :func:`mmdssl.cli.guard.guarded`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('root', metavar='OUT', help='folder to make')
    parser.add_argument('--seed', type=int, default=0, help='what all randomness comes from')
    parser.add_argument('--train', type=int, default=2000, help='ImageNet images to train on')
    parser.add_argument('--val', type=int, default=400, help='ImageNet images to validate on')
    parser.add_argument('--size', type=int, default=96, help='height and width of the ImageNet images, pixels')
    pair = dict(type=int, nargs=2, metavar=('TRAIN', 'VAL'))
    parser.add_argument('--coco', default=(48, 16), help='COCO images', **pair)
    parser.add_argument('--ade20k', default=(32, 8), help='ADE20K images', **pair)
    parser.add_argument('--clips', default=(2, 3), help='DAVIS sequences', **pair)
    parser.add_argument('--frames', type=int, default=16, help='frames of a DAVIS sequence')
    parser.add_argument('--workers', type=int, default=2, help='processes that render')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.datasets.sample_world import make_sample_world
    make_sample_world(**vars(args))
