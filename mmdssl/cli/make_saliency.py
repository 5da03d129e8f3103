"""Make the saliency masks of images that DiLo puts on other backgrounds, a PNG for each.

Without a checkpoint by robust background detection (RBD, needs scikit-image), which needs no network; with one, the patches that have
0.6 of the attention of its class token. Masks that exist are kept, so that a command that was ended goes on when it is given again.
"""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError
from mmdssl.news import with_bar

if TYPE_CHECKING:
    from torch import Tensor


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', metavar='FOLDER', help='folder of images, as the data_root of the dataset')
    parser.add_argument('--out', metavar='FOLDER', help='where masks go; by default beside the images, FOLDER_saliency')
    parser.add_argument('--checkpoint', metavar='FILE', help='a vision transformer whose attention makes the masks, any known format')
    parser.add_argument('--mass', type=float, default=0.6, help='share of the attention that a mask has')
    parser.add_argument('--size', type=int, help='side that the network sees images at; by default that of its training')
    parser.add_argument('--batch-size', type=int, default=64, help='images that the network sees at a time')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.datasets.images import find_images
    from mmdssl.datasets.saliency import folder_of_masks, missing_masks
    out = args.out or folder_of_masks(args.images)
    if not 0 < args.mass < 1 or args.batch_size < 1 or args.workers < 0:
        raise InputError(f'--mass {args.mass} must be between 0 and 1, --batch-size {args.batch_size} 1 or more, and --workers '
                         f'{args.workers} 0 or more')
    paths = find_images(args.images)
    missing = missing_masks(out, args.images, paths)
    saved = by_attention(args, missing, out) if args.checkpoint else by_background(args, missing, out)
    unreadable = len(missing) - sum(with_bar(saved, len(missing), f'Masks in {out}'))
    print(f'{out}: {len(missing)} new masks of {len(paths)} images'
          + (f'; {unreadable} images cannot be decoded and have an empty one' if unreadable else ''))


def by_background(args: argparse.Namespace, paths: list[str], out: str) -> Iterator[bool]:
    """Yields of each image whether it could be decoded."""
    make = partial(_background, root=args.images, out=out)
    if args.workers < 2:
        yield from map(make, paths)
    else:
        with Pool(args.workers) as pool:
            yield from pool.imap_unordered(make, paths, chunksize=8)


def _background(path: str, root: str, out: str) -> bool:
    from mmdssl.datasets.images import read_rgb
    from mmdssl.datasets.saliency import mask_file, robust_background
    image = read_rgb(path)
    save(None if image is None else robust_background(image), mask_file(out, root, path))
    return image is not None


def by_attention(args: argparse.Namespace, paths: list[str], out: str) -> Iterator[bool]:
    """Yields of each image whether it could be decoded."""
    import torch
    from torch.utils.data import DataLoader, Subset

    from mmdssl.checkpoint import load_backbone
    from mmdssl.datasets import ImageFolder, ViewsPreprocessor
    from mmdssl.datasets.crop_boxes import WholeImages
    from mmdssl.datasets.images import find_images
    from mmdssl.datasets.saliency import attended, mask_file
    backbone = load_backbone(args.checkpoint)
    if not hasattr(backbone, 'attention_maps'):
        raise InputError(f'{args.checkpoint} is a {type(backbone).__name__}, which has no class token that attends to patches: use a '
                         'vision transformer, or none')
    size = args.size or backbone.frame[0] * backbone.patch_size
    backbone.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
    normalise = ViewsPreprocessor().to(next(backbone.parameters()).device).normalise
    folder = ImageFolder(args.images, views=dict(none=dict(size=size, scale=(1., 1.))))
    places = {path: i for i, path in enumerate(find_images(args.images))}
    loader = DataLoader(Subset(WholeImages(folder, size), [places[path] for path in paths]), args.batch_size, num_workers=args.workers)
    done = iter(paths)
    for batch in loader:
        with torch.inference_mode():
            masks: Tensor = attended(backbone.attention_maps(normalise(batch['image'])), args.mass).cpu()
        for mask, readable in zip(masks.numpy(), batch['readable'].tolist()):
            path = next(done)
            save(mask if readable else None, mask_file(out, args.images, path), Image.open(path).size if readable else None)
            yield readable


def save(saliency: np.ndarray | None, path: str, size: tuple[int, int] | None = None) -> None:
    """Write a map in [0, 1] as a PNG, of another size if one is given; whoever ends the process leaves no half of a file."""
    image = Image.fromarray((255 * (np.zeros((1, 1)) if saliency is None else saliency)).round().astype(np.uint8))
    if size:
        image = image.resize(size, Image.Resampling.NEAREST)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image.save(f'{path}.part', 'PNG')
    os.replace(f'{path}.part', path)
