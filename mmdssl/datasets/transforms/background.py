"""Salient objects on other backgrounds, DiLo (https://arxiv.org/abs/2004.12943)."""
from __future__ import annotations

import os
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.saliency import folder_of_masks, mask_file, missing_masks
from mmdssl.datasets.sample_world.textures import GROUNDS
from mmdssl.errors import InputError
from mmdssl.home import command
from mmdssl.registry import TRANSFORMS

KINDS = ('gray', 'image', 'texture')
BLENDINGS = ('hard', 'gaussian', 'mix')
TEXTURE_SIZE = 128


@TRANSFORMS.register_module()
class LoadSaliency:
    """Gives an image its saliency mask as transparency; for the ``pipeline`` of a dataset whose views swap backgrounds.

    ``tools/make_saliency.py`` makes the masks.

    Args:
        folder: Of the masks, laid out as the images below the dataset's ``data_root``; None for the folder beside it whose name is
            its name and ``_saliency``.

    Raises:
        InputError: When the dataset is built: images have no mask. When called: a mask cannot be read.
    """

    def __init__(self, folder: str | None = None):
        self.folder = folder

    def prepare(self, dataset) -> None:
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        self.root = dataset.data_root or os.path.commonpath([os.path.dirname(path) for path in paths])
        self.masks = self.folder or folder_of_masks(self.root)
        missing = missing_masks(self.masks, self.root, paths)
        if missing:
            make = command('make_saliency', self.root, *(['--out', self.folder] if self.folder else []))
            raise InputError(f"{len(missing)} of {len(paths)} images have no saliency mask in '{self.masks}', first {missing[0]}: make "
                             f"them with `{make}`, or better with `--checkpoint DINO.pth` behind it")

    def __call__(self, results: dict) -> dict:
        path = mask_file(self.masks, self.root, results['img_path'])
        try:
            with Image.open(path) as file:
                mask = file.convert('L')
        except Exception as error:  # on broken data, decoders raise almost anything
            raise InputError(f"the saliency mask '{path}' cannot be read ({type(error).__name__}): remove it, and make it again with "
                             f'`{command("make_saliency")}`') from error
        image = results['img'].copy()
        image.putalpha(mask if mask.size == image.size else mask.resize(image.size, Image.Resampling.BILINEAR))
        return {**results, 'img': image}


@TRANSFORMS.register_module()
class SwapBackground:
    """With some probability, puts what is salient in a whole image on another background; the ``before`` of views.

    Called with a PIL RGBA image of :class:`LoadSaliency`, it returns an RGB image: ``M x + (1 - M) b``.

    Args:
        prob: Of another background.
        kinds: Kinds of background, of which each has the same chance: ``'gray'``, a constant level; ``'image'``, another image of the
            dataset; ``'texture'``, a generated one of two colours.
        blending: ``'hard'``, M is 0 or 1; ``'gaussian'``, M is blurred; ``'mix'``, either with the same chance.
        softness: Standard deviation of the blur as a share of the image's shorter side.

    Raises:
        InputError: A setting is unknown; when called, the image has no saliency mask.
    """

    def __init__(self, prob: float = 0.3, kinds: Sequence[str] = ('gray', ), blending: str = 'mix', softness: float = 0.02):
        if not kinds or not set(kinds) <= set(KINDS):
            raise InputError(f'kinds of backgrounds are {", ".join(KINDS)}, got {kinds}')
        if blending not in BLENDINGS:
            raise InputError(f'blending is one of {", ".join(BLENDINGS)}, got {blending!r}')
        self.prob = prob
        self.kinds = kinds
        self.blending = blending
        self.softness = softness

    def prepare(self, dataset) -> None:
        self.dataset = dataset

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.mode != 'RGBA':
            raise InputError("SwapBackground needs saliency masks: add dict(type='LoadSaliency') to train_dataloader.dataset.pipeline")
        pixels = image.convert('RGB')
        if random.random() >= self.prob:
            return pixels
        background = getattr(self, f'_{random.choice(self.kinds)}')(pixels.size)
        mask = image.getchannel('A').point(lambda level: 255 * (level >= 128))
        if self.blending == 'gaussian' or self.blending == 'mix' and random.random() < 0.5:
            mask = mask.filter(ImageFilter.GaussianBlur(self.softness * min(mask.size)))
        return Image.composite(pixels, background, mask)

    def _gray(self, size: tuple[int, int]) -> Image.Image:
        return Image.new('RGB', size, (random.randrange(256), ) * 3)

    def _image(self, size: tuple[int, int]) -> Image.Image:
        other = read_rgb(self.dataset.get_data_info(random.randrange(len(self.dataset)))['img_path'])
        return self._gray(size) if other is None else other.resize(size, Image.Resampling.BILINEAR)

    def _texture(self, size: tuple[int, int]) -> Image.Image:
        rows, columns = np.indices((TEXTURE_SIZE, TEXTURE_SIZE)).reshape(2, -1) / TEXTURE_SIZE
        places = np.stack([columns, rows]) * random.uniform(2, 20) + np.array([[random.uniform(0, 100)], [random.uniform(0, 100)]])
        blend = np.clip(random.choice(list(GROUNDS.values()))(places), 0, 1)[:, None]
        colours = np.array([[random.randrange(256) for _ in range(3)] for _ in range(2)])
        pixels = (blend * colours[0] + (1 - blend) * colours[1]).round().astype(np.uint8)
        return Image.fromarray(pixels.reshape(TEXTURE_SIZE, TEXTURE_SIZE, 3)).resize(size, Image.Resampling.BICUBIC)
