"""What every source of unlabelled images shares: from a sample key to the views of that image."""
from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from PIL import Image

from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.packed import Chosen, ImageFiles, PackedPaths
from mmdssl.datasets.seeding import seeded
from mmdssl.datasets.transforms.crops import BACKENDS, FULL_BOX, CropViews
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.registry import FUNCTIONS, TRANSFORMS

MAX_MISSES = 10


class ImageDataset(BaseDataset):
    """Views of unlabelled images; a subclass says where the images are.

    ``dataset[(seed, epoch, index)]`` gives the :class:`Views` of one image, fields without the batch dimension. They
    depend on these three alone: not on the worker, the rank or what was asked before. ``dataset[index]`` stands for
    seed 0 and epoch 0; a fourth number makes other views of the same image. ``labels`` tells the class of the image, where the
    subclass knows it. Where a file cannot be decoded another one, drawn from the same key, takes its place; then ``indices`` tells
    the image that was used, and ``skipped`` the file that was not.

    Args:
        data_root: Folder that the paths of images are relative to.
        views: By group name, the arguments of the group's :class:`CropViews` (or of another transform, named by
            ``type``). None means no such group, so that a config can drop one that it inherits. ``global_`` is the group
            ``global``, whose name is a keyword of Python's.
        pipeline: Transforms of the decoded image before cropping, on ``dict(img=PIL image, img_path=...,
            sample_idx=...)``. Boxes are in pixels of the image they return. A transform that has to know the dataset, here
            or in the ``before`` of views, has a method ``prepare(dataset)``.
        indices: Use the first so many images, or those at these positions.
        backend: What views are made with, see :class:`CropViews`: ``'pillow'``, or ``'fast'``, three times as fast and equal to
            rounding. Boxes, flips, masks and what is drawn for colours are the same.
        photometric_device: The data preprocessor changes the colours of views, in batches on its device, as they were drawn here.
        scaled_decoding: Decode a JPEG at a half, a quarter or an eighth of its size where even then every possible crop has as many
            pixels as its view. Boxes are in pixels of the file. Of no effect on views that are not those of :class:`CropViews`, or that
            something else looks at before (``pipeline``, ``before``).

    Attributes:
        crop_boxes: ``(n, 4)`` float32, for views with ``box_alpha`` the box ``(h0, w0, h1, w1)`` of each image, in
            [0, 1]; None where no view has it. A full box, as all are in the beginning, means that nothing is known of
            the image: its crops are then those of a view without ``box_alpha``. Loader processes see it change.

    Raises:
        InputError: The images are not where they should be, a view's settings do not fit together, or while loading
            10 files in a row could not be decoded.
    """

    def __init__(self, data_root: str = '', *, views: Mapping[str, dict | None], pipeline: Sequence[dict | Callable] = (),
                 indices: int | Sequence[int] | None = None, backend: Literal[BACKENDS] = 'pillow',
                 photometric_device: bool = False, scaled_decoding: bool = False):
        recipes = {name.rstrip('_'): recipe for name, recipe in views.items() if recipe is not None}
        if not recipes:
            raise InputError('a dataset needs at least one group of views: give it for instance '
                             'views=dict(global_=dict(size=224, scale=(.14, 1.), num=2))')
        self.views = {name: TRANSFORMS.build({'type': CropViews, **recipe}) for name, recipe in recipes.items()}
        crops = [view for view in self.views.values() if isinstance(view, CropViews)]
        for view in crops:
            view.backend, view.photometric_device = backend, photometric_device
        only_crops = len(crops) == len(self.views) and not any(view.before for view in crops) and not pipeline
        self.scaled_decoding = scaled_decoding and only_crops
        super().__init__(data_root=data_root, pipeline=pipeline, indices=indices, serialize_data=False)  # what is packed stays so
        boxed = any(map(_is_boxed, self.views.values()))
        for transform in (*self.pipeline.transforms, *(getattr(view, 'before', None) for view in self.views.values())):
            if hasattr(transform, 'prepare'):
                transform.prepare(self)
        self.crop_boxes = torch.tensor(FULL_BOX).repeat(len(self), 1).share_memory_() if boxed else None

    def load_paths(self) -> Iterable[str]:
        """Paths of all images."""
        raise NotImplementedError

    def load_data_list(self) -> Sequence[dict]:
        paths = self.load_paths()
        return ImageFiles(paths if isinstance(paths, PackedPaths) else PackedPaths(paths, self.data_root))

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> Sequence[dict]:
        positions = np.arange(len(self.data_list))
        if isinstance(indices, int):
            return Chosen(self.data_list, positions[:indices] if indices >= 0 else positions[indices:])
        return Chosen(self.data_list, positions[[*indices]])

    def read(self, info: dict) -> Image.Image | None:
        """The decoded image of what :meth:`get_data_info` gives, or None where it cannot be decoded.

        With ``info['spare']`` it may be smaller, see :func:`mmdssl.datasets.images.decode_rgb`.
        """
        return read_rgb(info['img_path'], info.get('spare'))

    def __getitem__(self, key: tuple[int, ...] | int) -> Views:
        key = key if isinstance(key, tuple) else (0, 0, key)
        with seeded(*key):
            results, skipped = self._decode(key[2])
            image = self.pipeline(results)['img']
            box = self._crop_box(results['sample_idx'])
            groups = {name: crop(image, box) if _is_boxed(crop) else crop(image) for name, crop in self.views.items()}
        label = torch.tensor(results['label']) if 'label' in results else None
        return Views(groups, torch.tensor(results['sample_idx']), skipped, label)

    def whole_image(self, index: int) -> Image.Image | None:
        """The image at ``index`` that views are cropped from, or None where it cannot be decoded."""
        info = self.get_data_info(index)
        image = self.read(info)
        if image is None:
            return None
        with seeded(0, 0, index):
            return self.pipeline(dict(img=image, **info))['img'].convert('RGB')

    def _spare(self, width: int, height: int) -> float:
        return min(view.spare(width, height) for view in self.views.values())

    def _crop_box(self, index: int) -> tuple[float, ...] | None:
        if self.crop_boxes is None:
            return None
        box = tuple(self.crop_boxes[index].tolist())
        return None if box == FULL_BOX else box

    def _decode(self, index: int) -> tuple[dict, list[str]]:
        """The image at ``index`` as the pipeline's input, or else another one, and the paths that were passed over."""
        skipped = []
        while len(skipped) < MAX_MISSES:
            results = self.get_data_info(index)
            if self.scaled_decoding:
                results['spare'] = self._spare
            image = self.read(results)
            if image is not None:
                return dict(img=image, **results), skipped
            skipped.append(results['img_path'])
            index = random.randrange(len(self))
        raise InputError(f'{MAX_MISSES} files in a row could not be decoded, first {", ".join(skipped[:3])}: check '
                         'that they are intact images and can be read from this machine')


def _is_boxed(crop: Callable) -> bool:
    return getattr(crop, 'box_alpha', None) is not None


@FUNCTIONS.register_module()
def collate_views(samples: Sequence[Views]) -> Views:
    """The batch of some samples, for ``DataLoader(collate_fn=...)``."""
    return Views.collate(samples)
