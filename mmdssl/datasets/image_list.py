"""Images named in a text file."""
from __future__ import annotations

import os
from collections.abc import Sequence

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import require_files
from mmdssl.datasets.lists import each_line
from mmdssl.datasets.packed import PackedPaths
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class ImageList(ImageDataset):
    """The images that a text file names, one path per line; blank lines and lines starting with ``#`` are ignored.

    Args:
        ann_file: The text file (UTF-8), relative to ``data_root`` or absolute.
        data_root: Folder that the paths in the file are relative to; the file's own folder where it is empty.
        **kwargs: Further arguments of :class:`ImageDataset`.
    """

    def __init__(self, ann_file: str, data_root: str = '', **kwargs):
        self._list_file = os.path.join(data_root, ann_file)
        super().__init__(data_root or os.path.dirname(ann_file), **kwargs)

    def load_paths(self) -> Sequence[str]:
        lines = each_line(self._list_file, 'image', 'set ann_file to a text file with one image path per line')
        root = os.path.join(self.data_root, '')
        paths = (line if line.startswith('/') else root + line for line in lines if not line.startswith('#'))
        return require_files(PackedPaths(paths, self.data_root), self._list_file)
