"""The images of a COCO annotation file."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping

from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.images import require_files
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS


@DATASETS.register_module()
class CocoImages(ImageDataset):
    """All images of a COCO json, those without annotations too; nothing but their file names is read.

    Args:
        ann_file: The json file, relative to ``data_root`` or absolute.
        data_prefix: ``dict(img=folder)`` as in MMDetection: the folder of the images, relative to ``data_root``.
        data_root: Root of the data set.
        **kwargs: Further arguments of :class:`ImageDataset`.
    """

    def __init__(self, ann_file: str, data_prefix: Mapping[str, str] | None = None, data_root: str = '', **kwargs):
        prefix = dict(img='') if data_prefix is None else data_prefix
        if set(prefix) != {'img'}:
            raise InputError(f'data_prefix of CocoImages is {dict(prefix)}: write data_prefix=dict(img=...), naming '
                             'the folder of the images')
        self._json_file = os.path.join(data_root, ann_file)
        self._image_folder = os.path.join(data_root, prefix['img'])
        super().__init__(data_root, **kwargs)

    def load_paths(self) -> list[str]:
        try:
            with open(self._json_file, encoding='utf-8') as file:
                names = [os.fspath(image['file_name']) for image in json.load(file)['images']]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read the images of '{self._json_file}' ({type(error).__name__}: {error}): set "
                             'ann_file to a COCO json, whose "images" have a "file_name" each') from error
        return require_files([os.path.join(self._image_folder, name) for name in names], self._json_file)
