"""Images for detection and segmentation."""
from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import ImageOps

from mmdssl.datasets.checks import plain_datasets
from mmdssl.datasets.images import decode_rgb, open_file
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

MAX_MISSES = 10


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """mmcv's ``LoadImageFromFile``, with an answer to files that are missing or broken.

    Images are decoded as those of pretraining, see :func:`mmdssl.datasets.images.decode_rgb`, to BGR; an EXIF orientation is
    applied, as in mmcv.

    Args:
        skip_broken: For training: let the dataset take another image instead. ``results['skipped']`` of that one names
            the paths passed over, which :class:`mmdssl.engine.hooks.SkippedImagesHook` brings to the log.
        to_float32: Give float32 in place of uint8.
        backend_args: Of MMEngine's ``fileio``, for files that are not local.

    Raises:
        InputError: When called: an image cannot be read, or with ``skip_broken`` 10 in a row.
    """

    def __init__(self, skip_broken: bool = False, to_float32: bool = False, backend_args: dict | None = None):
        self.to_float32 = to_float32
        self.backend_args = backend_args
        self.skip_broken = skip_broken
        self._skipped: list[str] = []

    def transform(self, results: dict) -> dict | None:
        try:
            pixels = self._read(results['img_path'])
        except Exception as error:  # on broken data, decoders raise almost anything
            self._skipped.append(results['img_path'])
            if not self.skip_broken:
                raise InputError(f"the image '{results['img_path']}' cannot be read ({type(error).__name__}): repair "
                                 'it, or remove it from the data set') from error
            if len(self._skipped) == MAX_MISSES:
                raise InputError(f'{MAX_MISSES} images in a row cannot be read, first {", ".join(self._skipped[:3])}: '
                                 'check that they are intact and can be read from this machine') from error
            return None
        results.update(img=pixels.astype(np.float32) if self.to_float32 else pixels, img_shape=pixels.shape[:2],
                       ori_shape=pixels.shape[:2], skipped=self._skipped)
        self._skipped = []
        return results

    def _read(self, path: str) -> np.ndarray:
        """BGR ``(H, W, 3)`` uint8."""
        file = open_file(path) if self.backend_args is None and '://' not in path else BytesIO(fileio.get(path, self.backend_args))
        with file:
            image = decode_rgb(file)
        with suppress(Exception):  # damaged metadata: pixels stay as they are stored
            image = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(np.asarray(image)[..., ::-1])


def keep_skipped(dataset) -> None:
    """Let what packs the samples of mmdet's and mmseg's datasets keep ``results['skipped']``; before workers are started."""
    for plain in plain_datasets(dataset):
        for transform in getattr(getattr(plain, 'pipeline', None), 'transforms', []):
            if 'skipped' not in getattr(transform, 'meta_keys', ['skipped']):
                transform.meta_keys = (*transform.meta_keys, 'skipped')
