"""Images below a folder."""
from __future__ import annotations

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import find_images
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """Every image below ``data_root``, at any depth: class folders as in ImageNet, or any flat or nested folder.

    Arguments are those of :class:`ImageDataset`.
    """

    def load_paths(self) -> list[str]:
        return find_images(self.data_root)
