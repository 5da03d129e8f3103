from __future__ import annotations

import os

import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from PIL import Image

from mmdssl.errors import InputError
from mmdssl.registry import TRANSFORMS


@pytest.fixture
def load(tmp_path):
    """Function that passes a label map through mmseg's dataset and ``LoadLabelMap(**kwargs)``."""

    def run(labels, reduce_zero_label=False, cut=0, **kwargs):
        labels = np.asarray(labels, np.uint8)
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / 'street.jpg')
        Image.fromarray(labels).save(tmp_path / 'street.png')
        if cut:
            (tmp_path / 'street.png').write_bytes((tmp_path / 'street.png').read_bytes()[:-cut])
        pipeline = [dict(type='mmdssl.LoadImage'), dict(type='mmdssl.LoadLabelMap', **kwargs)]
        dataset = BaseSegDataset(data_root=str(tmp_path), data_prefix=dict(img_path='', seg_map_path=''),
                                 pipeline=pipeline, reduce_zero_label=reduce_zero_label)
        return dataset[0]['gt_seg_map']
    return run


def test_classes_and_the_ignored_index_pass(load):
    labels = [[0, 1, 2], [255, 2, 0]]
    assert load(labels, num_classes=3).tolist() == labels
    load([[0, 1, 11], [11, 11, 0]], num_classes=3, ignore_index=11)


def test_an_unknown_index_is_named_with_its_file(load):
    with pytest.raises(InputError, match=r'street.png. has the index 3, 9, but the 3 classes are 0 to 2: .*255'):
        load([[0, 3, 2], [255, 9, 3]], num_classes=3)


def test_indices_are_those_of_the_file_where_zero_means_no_label(load):
    load([[0, 1, 2], [3, 255, 0]], num_classes=3, reduce_zero_label=True)
    with pytest.raises(InputError, match='has the index 4, but the 3 classes are 1 to 3'):
        load([[0, 1, 2], [3, 4, 0]], num_classes=3, reduce_zero_label=True)


@pytest.mark.parametrize('shape', [(2, 3, 3), (2, 4)])
def test_colour_pictures_and_other_sizes_are_refused(load, shape):
    with pytest.raises(InputError, match=rf'street.png. has the shape \({shape[0]}, .* but its image has \(2, 3\)'):
        load(np.zeros(shape), num_classes=3)


def test_a_broken_file_is_named(load):
    with pytest.raises(InputError, match='street.png. cannot be read'):
        load([[0, 1, 2], [0, 1, 2]], num_classes=3, cut=30)


@pytest.mark.parametrize('level', [np.nan, 0.5, 300])
def test_levels_that_are_no_index_are_refused(tmp_path, level):
    Image.fromarray(np.full((2, 3), level, np.float32)).save(tmp_path / 'map.tif')
    with pytest.raises(InputError, match=r'map.tif. has levels that are no index'):
        TRANSFORMS.build(dict(type='mmdssl.LoadLabelMap', num_classes=3))(dict(seg_map_path=str(tmp_path / 'map.tif')))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'map.png')
    with pytest.raises(InputError, match=r'map.png. cannot be read'):
        TRANSFORMS.build(dict(type='mmdssl.LoadLabelMap', num_classes=3))(dict(seg_map_path=str(tmp_path / 'map.png')))
