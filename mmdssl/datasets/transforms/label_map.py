"""Label maps of semantic segmentation."""
from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from mmcv.transforms import BaseTransform
from torch.utils.data import Dataset

from mmdssl.arguments import PositiveInt
from mmdssl.datasets.davis import as_binary
from mmdssl.datasets.images import open_file, open_image
from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's ``LoadAnnotations``, which refuses what the model cannot learn from.

    Args:
        num_classes: Classes of the model: indices are from 0 to ``num_classes - 1``.
        ignore_index: The index of pixels without label.
        binary: Maps are 0 and 255, and 255 is read as 1.
        **kwargs: Arguments of mmseg's.

    Raises:
        InputError: When called: the map cannot be read, has another size than the image, or several channels, or a level is no index
            or none of these.
    """

    def __init__(self, num_classes: PositiveInt, ignore_index: int = 255, binary: bool = False, **kwargs):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.binary = binary
        self.load = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations', **kwargs))

    def check_labels(self, dataset: Dataset) -> None:
        """Raise an InputError where no label map of a dataset of mmseg has a pixel of a class; the first that has one ends the search."""
        for index in range(len(dataset)):
            with suppress(Exception):  # loading it says why
                labels = self._load(dataset.get_data_info(index))['gt_seg_map']
                if (labels != self.ignore_index).any():
                    return
        raise InputError(f"none of the {len(dataset)} label maps of '{dataset.data_root}' has a pixel with another index than "
                         f'{self.ignore_index}, which is ignored: check data_prefix.seg_map_path, reduce_zero_label and ignore_index')

    def _load(self, results: dict) -> dict:
        results = self.load(results)
        if self.binary:
            results['gt_seg_map'] = as_binary(results['gt_seg_map'], results['seg_map_path'])
        return results

    def transform(self, results: dict) -> dict:
        path = results['seg_map_path']
        try:
            if os.path.exists(path):
                _check(path)
            results = self._load(results)
        except InputError:
            raise
        except Exception as error:  # on broken data, decoders raise almost anything
            raise InputError(f"the label map '{path}' cannot be read ({type(error).__name__}): repair it, or remove it and its image "
                             'from the data set') from error
        labels = results['gt_seg_map']
        if labels.shape != tuple(results['ori_shape']):
            raise InputError(f"the label map '{path}' has the shape {labels.shape}, but its image has "
                             f"{tuple(results['ori_shape'])}: a label map holds one class index per pixel of the image")
        unknown = labels[(labels >= self.num_classes) & (labels != self.ignore_index)]
        if unknown.size:
            reduced = results.get('reduce_zero_label', False)
            indices = ', '.join(str(index + reduced) for index in np.unique(unknown).tolist())
            raise InputError(
                f"the label map '{path}' has the index {indices}, but the {self.num_classes} classes are "
                f'{int(reduced)} to {self.num_classes - 1 + reduced}: set num_classes to the number of classes, or '
                f'write {self.ignore_index} where pixels have no label')
        return results


def _check(path: str) -> None:
    """What mmseg's would wait for, or turn into other levels."""
    with open_file(path) as file, open_image(file) as image:
        if image.mode.startswith(('I', 'F')):
            levels = np.asarray(image)
            if not ((levels >= 0) & (levels <= 255) & (levels % 1 == 0)).all():
                raise InputError(f"the label map '{path}' has levels that are no index of a class (0 to 255): save it with 8 bits")
