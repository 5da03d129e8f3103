"""Render mmdssl's sample world: images with labels, masks, boxes, parts, joints, keypoints and depth, and clips."""
from __future__ import annotations

import argparse
import os

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
    parser.add_argument('--frames', type=int, default=16, help='frames of a sequence of DAVIS, JHMDB and VIP')
    parser.add_argument('--voc', default=(48, 24), help='Pascal VOC 2012 images', **pair)
    parser.add_argument('--saliency', type=int, default=24, help='ECSSD images')
    parser.add_argument('--jhmdb', default=(0, 4), help='JHMDB clips', **pair)
    parser.add_argument('--vip', default=(0, 4), help='VIP videos', **pair)
    parser.add_argument('--spair', type=int, nargs=3, default=(0, 0, 40), metavar=('TRAIN', 'VAL', 'TEST'), help='SPair-71k images')
    parser.add_argument('--nyu', default=(48, 24), help='NYU depth images', **pair)
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes that render')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.datasets.sample_world import make_sample_world
    make_sample_world(**vars(args))
