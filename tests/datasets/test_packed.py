from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from mmdssl.datasets import ImageFolder, LabelledFolder, LabelledViews, packed
from mmdssl.datasets import images as found
from mmdssl.datasets.packed import Chosen, ImageFiles, PackedPaths, SharedArray
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=16, scale=(.14, 1.))}
PATHS = ['root/a.jpg', 'root/b/ä.jpg', '/elsewhere/c.jpg', 'other/d.jpg', 'root/\1e.jpg', 'root/\udcff.jpg', 'root/line\nbreak.jpg']


@pytest.mark.parametrize('root', ['root', 'root/', '', '/elsewhere'])
@pytest.mark.parametrize('chunk', [2, 7, 100])
def test_paths_come_out_as_they_went_in(root, chunk, monkeypatch):
    monkeypatch.setattr(packed, 'CHUNK', chunk)
    paths = PackedPaths(iter(PATHS), root)
    assert list(paths) == PATHS == [paths[i] for i in range(len(paths))]
    assert paths[-1] == PATHS[-1] and list(reversed(paths)) == PATHS[::-1]
    assert list(pickle.loads(pickle.dumps(paths))) == PATHS
    with pytest.raises(IndexError):
        paths[len(PATHS)]
    assert not list(PackedPaths([]))


def test_a_nul_is_no_part_of_a_path():
    with pytest.raises(InputError, match=r"'b\\x00c' is no path, for it holds a NUL"):
        PackedPaths(['a', 'b\0c'])


def test_what_is_pickled_is_mapped_and_the_file_goes_with_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(packed.tempfile, 'tempdir', str(tmp_path))
    array = SharedArray(np.arange(100_000))
    assert len(pickle.dumps(array)) < 500 and len(list(tmp_path.iterdir())) == 1
    again = pickle.loads(pickle.dumps(array))
    assert isinstance(again.values, np.memmap) and np.array_equal(again.values, array.values) and not again.values.flags.writeable
    assert pickle.dumps(again) == pickle.dumps(array) and len(list(tmp_path.iterdir())) == 1
    del again, array
    assert not list(tmp_path.iterdir())


def test_images_are_dicts_when_they_are_asked_for(image_root):
    dataset = ImageFolder(str(image_root), views=VIEWS)
    assert isinstance(dataset, BaseDataset) and isinstance(dataset.data_list, ImageFiles)
    assert dataset.get_data_info(7) == dict(img_path=str(image_root / 'second/deep/07.png'), label=1, sample_idx=7)
    assert dataset.get_data_info(-1)['sample_idx'] == 11
    for indices, expected in ((3, [0, 1, 2]), (-2, [10, 11]), ([5, -1, 5], [5, 11, 5])):
        some = ImageFolder(str(image_root), views=VIEWS, indices=indices)
        assert [some.get_data_info(i)['img_path'] for i in range(len(some))] == [dataset.get_data_info(i)['img_path'] for i in expected]
        assert isinstance(some.data_list, Chosen)
    labelled = dict(type='mmdssl.LabelledFolder', data_root=str(image_root), resize=16, size=16)
    assert LabelledViews(labelled, views=VIEWS).get_data_info(7) == dataset.get_data_info(7)
    assert LabelledFolder(str(image_root), 16, 16).get_data_info(7) == dataset.get_data_info(7)


def tree(root: Path, draws: random.Random) -> None:
    """Folders, files and links with names around the separator in the order of characters, and with bytes that are no text."""
    names, folders, files = ['a', 'a-b', 'a.b', 'b', 'B', 'é', '\udcff', '.h', 'a b', '0', 'a_'], [root / 'in', root / 'out'], []
    for folder in folders:
        folder.mkdir(parents=True)
    for i in range(60):
        path = draws.choice(folders) / (draws.choice(names) + draws.choice(['', '', '.jpg', '.PNG', '.txt']))
        if os.path.lexists(path):
            continue
        kind = 'folder' if i < 12 else draws.choice(['file', 'file', 'link'])
        if kind == 'folder':
            path.mkdir()
            folders.append(path)
        elif kind == 'file':
            path.touch()
            files.append(path)
        else:
            path.symlink_to(draws.choice([*folders, *files, root / 'gone.jpg']))


def reachable(root: str) -> dict[str, set[str]]:
    """By the real path of each image all paths to it, found in the plainest way."""
    paths: dict[str, set[str]] = {}

    def look(folder: str, above: tuple[str, ...]) -> None:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if name.startswith('.') or real in above:
                continue
            if os.path.isdir(path):
                look(path, (*above, real))
            elif name.lower().endswith(('.jpg', '.png')):
                paths.setdefault(real, set()).add(path)
    look(root, (os.path.realpath(root), ))
    return paths


@pytest.mark.parametrize('seed', range(12))
def test_all_images_of_a_wild_tree_are_found_once_in_the_order_of_text(tmp_path, seed):
    tree(tmp_path, random.Random(seed))
    root, expected = str(tmp_path / 'in'), reachable(str(tmp_path / 'in'))
    paths = found.find_images(root) if expected else []
    assert paths == sorted(paths) and sorted(map(os.path.realpath, paths)) == sorted(expected)
    for path in paths:
        assert path in expected[os.path.realpath(path)]
        assert path == os.path.realpath(path) or os.path.realpath(path) not in expected[os.path.realpath(path)]


def test_listing_folders_finds_the_files_that_asking_finds(image_root, monkeypatch):
    os.mkfifo(image_root / 'first/pipe.png')
    (image_root / 'first/link.png').symlink_to('00.png')
    (image_root / 'first/broken.png').symlink_to('nowhere.png')
    names = [*(f'first/0{i}.png' for i in range(6)), 'first/pipe.png', 'first/link.png', 'first/broken.png', 'first/../first/00.png',
             'first/none.png', 'gone/00.png', 'second', 'second/', 'second/deep/07.png', 'first//00.png']
    paths = [str(image_root) + '/' + name for name in names]
    expected = [os.path.isfile(path) for path in paths]
    assert any(expected) and not all(expected)
    for worth in (1, 5, 100):
        monkeypatch.setattr(found, 'WORTH_LISTING', worth)
        assert list(found._are_files(paths)) == expected
