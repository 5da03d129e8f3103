from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from PIL import Image

from mmdssl.datasets import LabelledViews
from mmdssl.errors import InputError
from mmdssl.registry import DATASETS

VIEWS = {'global': dict(size=16, scale=(0.5, 1.))}


@pytest.fixture
def root(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    for i in range(6):
        pixels = np.full((20, 20, 3), 40 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'train' / 'ab'[i % 2] / f'{i}.png')
    return tmp_path / 'train'


def views_of(root, **kwargs) -> LabelledViews:
    return LabelledViews(dict(type='mmdssl.LabelledFolder', data_root=str(root), **kwargs), views=VIEWS)


def test_views_have_the_labels_of_the_folder(root):
    dataset = views_of(root)
    assert dataset.classes == ['a', 'b'] and dataset.subset is None
    views = [dataset[(0, 0, i)] for i in range(6)]
    assert [int(view.labels) for view in views] == [0, 0, 0, 1, 1, 1]
    assert [int(view['global'].images.float().mean()) for view in views] == [0, 80, 160, 40, 120, 200]
    assert [int(view.indices) for view in views] == list(range(6))


def test_copies_of_an_image_have_views_of_their_own(root):
    dataset = views_of(root)
    boxes = [dataset[key]['global'].boxes for key in ((0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 1, 1))]
    assert torch.equal(boxes[2], boxes[4]) and not torch.equal(boxes[2], boxes[3]) and not torch.equal(boxes[0], boxes[2])


def test_a_share_or_a_list_of_the_labels(root, tmp_path):
    share = views_of(root, fraction=0.4)
    assert len(share) == 2 and share.subset == '2 of 6 images, as many of each class, drawn with seed 0'
    file = tmp_path / '1percent.txt'
    file.write_text('4.png\nb/5.png\n\n')
    listed = views_of(root, names=str(file))
    assert [listed.get_data_info(i)['img_path'][-7:] for i in range(2)] == ['a/4.png', 'b/5.png']
    assert len(listed) == 2 and listed.subset == '2 of 6 images, listed in 1percent.txt'
    for content, match in (('9.png\n4.png', 'lists 1 images that are not in .* first 9.png'), ('\n', 'names no image')):
        file.write_text(content)
        with pytest.raises(InputError, match=match):
            views_of(root, names=str(file))
    with pytest.raises(InputError, match="none.txt' does not exist"):
        views_of(root, names=str(tmp_path / 'none.txt'))
    with pytest.raises(InputError, match='both choose images'):
        views_of(root, names=str(file), fraction=0.5)


@DATASETS.register_module()
class NoFiles(BaseDataset):
    """Of which only reading tells the label; the item at 0 cannot be read."""
    classes = ('dark', 'light')

    def load_data_list(self):
        return [dict(name=f'train/{i}') for i in range(4)]

    def read(self, index):
        return (Image.new('RGB', (20, 20), (60 * index, ) * 3), index // 2) if index else (None, -1)


def test_a_dataset_without_files():
    dataset = LabelledViews(dict(type='NoFiles'), views=VIEWS)
    found = [dataset[(0, 0, i)] for i in range(4)]
    assert [int(views.labels) for views in found[1:]] == [0, 1, 1]
    assert [int(views['global'].images.float().mean()) for views in found[1:]] == [60, 120, 180]
    assert found[0].skipped and set(found[0].skipped) == {'train/0'}
    assert int(found[0].labels) == int(found[0].indices) // 2 > -1, 'the label is that of the image that took its place'
