"""Images for detection and segmentation."""
from __future__ import annotations

from mmcv.transforms import LoadImageFromFile

from mmdssl.datasets.checks import plain_datasets
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS

MAX_MISSES = 10


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's transform, with an answer to files that are missing or broken.

    Args:
        skip_broken: For training: let the dataset take another image instead. ``results['skipped']`` of that one names
            the paths passed over, which :class:`mmdssl.engine.hooks.SkippedImagesHook` brings to the log.
        **kwargs: Arguments of mmcv's.

    Raises:
        InputError: When called: an image cannot be read, or with ``skip_broken`` 10 in a row.
    """

    def __init__(self, skip_broken: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.skip_broken = skip_broken
        self._skipped: list[str] = []

    def transform(self, results: dict) -> dict | None:
        try:
            results = super().transform(results)
        except Exception as error:  # on broken data, decoders raise almost anything
            self._skipped.append(results['img_path'])
            if not self.skip_broken:
                raise InputError(f"the image '{results['img_path']}' cannot be read ({type(error).__name__}): repair "
                                 'it, or remove it from the data set') from error
            if len(self._skipped) == MAX_MISSES:
                raise InputError(f'{MAX_MISSES} images in a row cannot be read, first {", ".join(self._skipped[:3])}: '
                                 'check that they are intact and can be read from this machine') from error
            return None
        results['skipped'], self._skipped = self._skipped, []
        return results


def keep_skipped(dataset) -> None:
    """Let what packs the samples of mmdet's and mmseg's datasets keep ``results['skipped']``; before workers are started."""
    for plain in plain_datasets(dataset):
        for transform in getattr(getattr(plain, 'pipeline', None), 'transforms', []):
            if 'skipped' not in getattr(transform, 'meta_keys', ['skipped']):
                transform.meta_keys = (*transform.meta_keys, 'skipped')
