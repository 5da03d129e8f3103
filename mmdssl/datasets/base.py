"""What every source of unlabelled images shares: from a sample key to the views of that image."""
from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from mmdssl.datasets.images import read_rgb
from mmdssl.datasets.transforms.crops import CropViews
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.registry import FUNCTIONS, TRANSFORMS

MAX_MISSES = 10


class ImageDataset(BaseDataset):
    """Views of unlabelled images; a subclass says where the images are.

    ``dataset[(seed, epoch, index)]`` gives the :class:`Views` of one image, fields without the batch dimension. They
    depend on these three alone: not on the worker, the rank or what was asked before. ``dataset[index]`` stands for
    seed 0 and epoch 0. Where a file cannot be decoded another one, drawn from the same key, takes its place; then
    ``indices`` tells the image that was used, and ``skipped`` the file that was not.

    Args:
        data_root: Folder that the paths of images are relative to.
        views: By group name, the arguments of the group's :class:`CropViews` (or of another transform, named by
            ``type``). None means no such group, so that a config can drop one that it inherits. ``global_`` is the group
            ``global``, whose name is a keyword of Python's.
        pipeline: Transforms of the decoded image before cropping, on ``dict(img=PIL image, img_path=...,
            sample_idx=...)``. Boxes are in pixels of the image they return.
        indices: Use the first so many images, or those at these positions.

    Raises:
        InputError: The images are not where they should be, a view's settings do not fit together, or while loading
            10 files in a row could not be decoded.
    """

    def __init__(self, data_root: str = '', *, views: Mapping[str, dict | None], pipeline: Sequence[dict | Callable] = (),
                 indices: int | Sequence[int] | None = None):
        recipes = {name.rstrip('_'): recipe for name, recipe in views.items() if recipe is not None}
        if not recipes:
            raise InputError("a dataset needs at least one group of views: give it for instance "
                             'views=dict(global_=dict(size=224, scale=(.14, 1.), num=2))')
        self.views = {name: TRANSFORMS.build({'type': CropViews, **recipe}) for name, recipe in recipes.items()}
        super().__init__(data_root=data_root, pipeline=pipeline, indices=indices)

    def load_paths(self) -> list[str]:
        """Paths of all images."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        return [dict(img_path=path) for path in self.load_paths()]

    def __getitem__(self, key: tuple[int, int, int] | int) -> Views:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        with seeded(seed, epoch, index):
            results, skipped = self._decode(index)
            image = self.pipeline(results)['img']
            groups = {name: crop(image) for name, crop in self.views.items()}
        return Views(groups, torch.tensor(results['sample_idx']), skipped)

    def _decode(self, index: int) -> tuple[dict, list[str]]:
        """The image at ``index`` as the pipeline's input, or else another one, and the paths that were passed over."""
        skipped = []
        while len(skipped) < MAX_MISSES:
            results = self.get_data_info(index)
            image = read_rgb(results['img_path'])
            if image is not None:
                return dict(img=image, **results), skipped
            skipped.append(results['img_path'])
            index = random.randrange(len(self))
        raise InputError(f'{MAX_MISSES} files in a row could not be decoded, first {", ".join(skipped[:3])}: check '
                         'that they are intact images and can be read from this machine')


@FUNCTIONS.register_module()
def collate_views(samples: Sequence[Views]) -> Views:
    """The batch of some samples, for ``DataLoader(collate_fn=...)``."""
    return Views.collate(samples)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed the global generators of PyTorch (CPU), NumPy and Python from non-negative integers, then restore them.

    torchvision's and most third-party transforms draw from these and take no generator of one's own.
    """
    cpu = torch.default_generator  # torch.manual_seed would seed the accelerator too
    states = cpu.get_state(), np.random.get_state(), random.getstate()
    seeds = np.random.SeedSequence(key).generate_state(3).tolist()
    try:
        cpu.manual_seed(seeds[0])
        np.random.seed(seeds[1])
        random.seed(seeds[2])
        yield
    finally:
        cpu.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
