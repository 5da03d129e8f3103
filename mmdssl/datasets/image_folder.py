"""Images below a folder."""
from __future__ import annotations

import os

import numpy as np

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import walk_images
from mmdssl.datasets.packed import ImageFiles, PackedPaths
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """Every image below ``data_root``, at any depth: class folders as in ImageNet, or any flat or nested folder.

    Where all images are in folders, views have labels: numbers of the folders in ``data_root``, sorted by name, in which they are.

    Arguments are those of :class:`ImageDataset`.
    """

    def load_paths(self) -> PackedPaths:
        self.left_out: list[str] = []
        return PackedPaths(walk_images(self.data_root, self.left_out), self.data_root)

    def load_data_list(self) -> ImageFiles:
        paths, start, seen = self.load_paths(), len(os.path.join(self.data_root, '')), {}
        # The number of the folder in the order in which they appear, 0 for images in none.
        numbers = np.fromiter((seen.setdefault(folder, len(seen) + 1) if inside else 0
                               for folder, inside, _ in (path[start:].partition(os.sep) for path in paths)), np.int32, len(paths))
        if not numbers.all():
            return ImageFiles(paths)
        labels = np.zeros(len(seen) + 1, np.int32)
        for label, name in enumerate(sorted(seen)):
            labels[seen[name]] = label
        return ImageFiles(paths, labels[numbers])
