from __future__ import annotations

from functools import partial

import pytest

from mmdssl.datasets import CocoBoxes, ImageList, LabelledFolder, NYUDepth, SegmentedImages, SPair, VOCBoxes, VOCInstances
from mmdssl.datasets.davis import DAVIS
from mmdssl.datasets.jhmdb import JHMDB
from mmdssl.datasets.lists import read_lines
from mmdssl.datasets.vip import VIP
from mmdssl.errors import InputError

READERS = {
    'ImageSets/Main/trainval.txt': VOCBoxes,
    'ImageSets/Segmentation/val.txt': VOCInstances,
    'ImageSets/2017/val.txt': DAVIS,
    'Layout/large/test.txt': SPair,
    'lists/val_videos.txt': VIP,
    'splits/clap_test_split1.txt': JHMDB,
    'val_list.txt': partial(JHMDB, list_file='val_list.txt'),
    'nyudepthv2_train_files_with_gt.txt': NYUDepth,
    'coco_20k_filenames.txt': partial(CocoBoxes, 'boxes.json', dict(img=''), image_list='coco_20k_filenames.txt'),
    'names.txt': partial(SegmentedImages, images='', masks='', classes=['one'], names='names.txt'),
    'classes.txt': partial(SegmentedImages, images='', masks=''),
}


def read(path, **options):
    return read_lines(path, 'image', 'set ann_file', **options)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """Warnings of lists."""
    messages = []
    monkeypatch.setattr('mmdssl.datasets.lists.print_log', lambda message, *_: messages.append(message))
    return messages


def test_a_line_is_a_name_whatever_is_in_it_and_around_it(tmp_path, said):
    (tmp_path / 'list.txt').write_bytes('\ufeff  Bär am See.jpg \r\n\r\n\tb.jpg\rc d\n'.encode())
    assert read(tmp_path / 'list.txt') == ['Bär am See.jpg', 'b.jpg', 'c d']
    assert not said


def test_lines_that_are_there_again_count_once_unless_they_may(tmp_path, said):
    (tmp_path / 'list.txt').write_text('c\na\nb\na \na\nb\n')
    assert read(tmp_path / 'list.txt', unique=False) == ['c', 'a', 'b', 'a', 'a', 'b'] and not said
    assert read(tmp_path / 'list.txt') == ['c', 'a', 'b']
    assert said == [f"3 of the 6 lines of '{tmp_path / 'list.txt'}' are there again, first 'a': each counts once"]


def test_what_is_wrong_with_a_list_is_said(tmp_path):
    with pytest.raises(InputError, match="none.txt' does not exist: set ann_file"):
        read(tmp_path / 'none.txt')
    with pytest.raises(InputError, match='cannot be read .*is not a file.*: set ann_file'):
        read(tmp_path)
    (tmp_path / 'empty.txt').write_text('\ufeff\n \n', encoding='utf-8')
    with pytest.raises(InputError, match="empty.txt' names no image: write one per line"):
        read(tmp_path / 'empty.txt')


@pytest.mark.parametrize('name', READERS)
def test_every_list_that_is_not_utf8_is_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes('a 1 2\nBär 1 2\n'.encode('latin-1'))
    with pytest.raises(InputError, match=f"{name}' cannot be read, line 2 is no text in UTF-8: save the file in UTF-8, or "):
        READERS[name](data_root=str(tmp_path))


def test_a_list_of_labelled_images_that_is_not_utf8_is_named(image_root):
    (image_root / 'list.txt').write_bytes('Bär.png'.encode('latin-1'))
    for make in (partial(LabelledFolder, str(image_root), names=str(image_root / 'list.txt')),
                 partial(ImageList, 'list.txt', str(image_root), views={'global': dict(size=16, scale=(.14, 1.))})):
        with pytest.raises(InputError, match="list.txt' cannot be read, line 1 is no text in UTF-8"):
            make()
