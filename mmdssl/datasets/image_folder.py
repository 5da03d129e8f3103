"""Images below a folder."""
from __future__ import annotations

import os

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import find_images
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """Every image below ``data_root``, at any depth: class folders as in ImageNet, or any flat or nested folder.

    Where all images are in folders, views have labels: numbers of the folders in ``data_root``, sorted by name, in which they are.

    Arguments are those of :class:`ImageDataset`.
    """

    def load_paths(self) -> list[str]:
        return find_images(self.data_root)

    def load_data_list(self) -> list[dict]:
        infos = super().load_data_list()
        start = len(os.path.join(self.data_root, ''))
        folders = [info['img_path'][start:].split(os.sep)[:-1] for info in infos]
        if not all(folders):
            return infos
        classes = {name: label for label, name in enumerate(sorted({path[0] for path in folders}))}
        return [dict(info, label=classes[path[0]]) for info, path in zip(infos, folders)]
