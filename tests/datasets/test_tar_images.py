from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_ranks
from torch.utils.data import DataLoader

from mmdssl.datasets import EpochSampler, ImageFolder, TarImages, collate_views, tar_index, tars
from mmdssl.datasets.images import image_names
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=16, scale=(.14, 1.), num=2, photometric=[dict(blur_prob=.5)] * 2), 'local': dict(size=8, scale=(.05, .14))}


def pack(path: Path, root: Path, names: list[str] | None = None) -> None:
    """A tar of files below a folder, sorted as ImageFolder has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for name in names or sorted(str(file.relative_to(root)) for file in root.rglob('*') if file.is_file()):
            tar.add(root / name, name)


def write(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def jpeg(level: int, kind: str = 'JPEG') -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(level).integers(0, 255, (20 + level, 24, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.fixture
def shards(image_root, tmp_path_factory) -> Path:
    """The images of ``image_root`` in the same order in three tars, of which one is in a folder."""
    names = sorted(str(path.relative_to(image_root)) for path in image_root.rglob('*.png'))
    folder = tmp_path_factory.mktemp('tars')
    for name, part in (('a.tar', names[:5]), ('b/0.tar', names[5:6]), ('c.tar', names[6:])):
        pack(folder / name, image_root, part)
    return folder


@pytest.fixture
def said(monkeypatch) -> list[str]:
    messages = []
    monkeypatch.setattr(tar_index, 'print_log', lambda message, *_: messages.append(message))
    return messages


def paths(dataset: TarImages) -> list[str]:
    return [dataset._member(dataset.get_data_info(i)) for i in range(len(dataset))]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_folder_and_tars_of_the_same_files_give_the_same_batches_to_the_bit(image_root, shards, workers):
    def batches(dataset):
        return [*DataLoader(dataset, 4, sampler=EpochSampler(dataset, seed=3), collate_fn=collate_views, num_workers=workers)]

    (image_root / 'first/03.png').write_bytes(b'broken')
    shutil.rmtree(shards)
    pack(shards / 'all.tar', image_root)
    folder, tar = ImageFolder(str(image_root), views=VIEWS), TarImages(str(shards), views=VIEWS)
    for mine, expected in zip(batches(tar), batches(folder), strict=True):
        assert mine.indices.tolist() == expected.indices.tolist() and mine.labels.tolist() == expected.labels.tolist()
        for name in VIEWS:
            for field in ('images', 'boxes', 'flips'):
                assert torch.equal(getattr(mine[name], field), getattr(expected[name], field))
        assert [path.removeprefix(f'{shards}/all.tar') for path in mine.skipped] == [path.removeprefix(str(image_root))
                                                                                   for path in expected.skipped]


def test_images_come_in_the_order_of_tars_and_of_files_in_them(image_root, shards, said):
    dataset = TarImages(str(shards), views=VIEWS)
    assert paths(dataset) == sorted(str(path.relative_to(image_root)) for path in image_root.rglob('*.png'))
    assert dataset.shard_sizes.tolist() == [5, 1, 6] and len(said) == 2
    assert [int(dataset[i].labels) for i in range(12)] == [0] * 6 + [1] * 6
    rows = np.load(shards / 'index.npy')
    assert rows.itemsize == 16 and rows['shard'].tolist() == [0] * 5 + [1] + [2] * 6
    some = TarImages(str(shards), ['c.tar', 'a.tar'], views=VIEWS, indices=[10, 0, 1, 9])
    assert paths(some) == [paths(dataset)[i] for i in (11, 0, 1, 10)] and some.shard_sizes.tolist() == [1, 2, 1]
    assert len(said) == 2, 'the same index'
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[(1, 2, 7)]['local'].images, dataset[(1, 2, 7)]['local'].images)


def test_tars_by_anyone(tmp_path, said):
    """Extensions of any case, other files beside them, hidden ones, links, long names and two files of a name."""
    long = '/'.join(['x' * 90] * 3) + '/long.jpg'
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.GNU_FORMAT) as tar:
        for name, content in {'./1.JPG': jpeg(1), '1.json': b'{}', '1.txt': b'a cat', '2.jpeg': jpeg(2), '3.WebP': jpeg(3, 'WEBP'),
                              '._2.jpg': b'mac', '.git/4.jpg': b'', long: jpeg(5), '6.PNG': jpeg(6, 'PNG')}.items():
            write(tar, name, content)
        link = tarfile.TarInfo('7.jpg')
        link.type, link.linkname = tarfile.LNKTYPE, '1.JPG'
        tar.addfile(link)
    with tarfile.open(tmp_path / 'b.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
        for name in ('2.jpeg', long, '2.jpeg'):
            write(tar, name, jpeg(8))
    dataset = TarImages(str(tmp_path), views=VIEWS)
    assert dataset.shard_sizes.tolist() == [5, 3]
    heights = [dataset.whole_image(i).height for i in range(8)]
    assert heights == [21, 22, 23, 25, 26, 28, 28, 28]
    assert dataset[0].labels is None


def test_webdataset_classes(tmp_path):
    for shard in range(2):
        with tarfile.open(tmp_path / f'{shard:03}.tar', 'w') as tar:
            for key in range(3):
                write(tar, f'{key}.jpg', jpeg(key))
                write(tar, f'{key}.cls', str(10 * shard + key).encode())
                write(tar, f'{key}.json', json.dumps(dict(key=key)).encode())
    dataset = TarImages(str(tmp_path), '{000..001}.tar', views=VIEWS)
    assert [int(dataset[i].labels) for i in range(6)] == [0, 1, 2, 10, 11, 12]


def test_the_index_follows_the_tars(image_root, shards, said):
    before = TarImages(str(shards), views=VIEWS)
    (shards / 'b/0.tar').unlink()
    pack(shards / 'c.tar', image_root, ['first/00.png'])
    pack(shards / 'd.tar', image_root, ['second/deep/11.png', 'first/01.png'])
    said.clear()
    after = TarImages(str(shards), views=VIEWS)
    assert said[0].startswith('Looking for images in 2 tars') and said[1].startswith('8 images in 3 tars')
    assert paths(after) == [*paths(after)[:5], 'first/00.png', 'second/deep/11.png', 'first/01.png']
    assert [int(after[i].labels) for i in range(8)] == [0] * 6 + [1, 0]
    names = [[*image_names(dataset)] for dataset in (before, after)]
    assert names[0][0] == names[1][0] and not set(names[0][1:]) & set(names[1][1:])
    moved = shards.rename(shards.with_name(f'{shards.name}-moved'))
    assert [*image_names(TarImages(str(moved), views=VIEWS))] == names[1]
    TarImages(str(moved), ['d.tar'], views=VIEWS)
    assert len(said) == 2, 'times and sizes are what they were'
    os.utime(moved / 'd.tar', ns=(0, 1))
    assert paths(TarImages(str(moved), ['d.tar'], views=VIEWS)) == ['second/deep/11.png', 'first/01.png']
    assert said[2].startswith('Looking for images in 1 tars')
    TarImages(str(moved), views=VIEWS)
    assert len(said) == 4, 'the index keeps those that were not asked for'


def test_the_index_is_elsewhere_where_nothing_can_be_written(shards, tmp_path, monkeypatch, said):
    monkeypatch.setattr(tar_index, '_writable', lambda place, true=tar_index._writable: place.parent != shards and true(place))
    for _ in range(2):
        assert len(TarImages(str(shards), cache=str(tmp_path / 'cache'), views=VIEWS)) == 12
    assert not (shards / 'index.npy').exists() and len(list((tmp_path / 'cache').glob('*/index.npy'))) == 1 and len(said) == 2
    assert len(TarImages(str(shards), index=str(tmp_path / 'mine.npy'), views=VIEWS)) == 12
    assert (tmp_path / 'mine.npy').exists()


def test_files_of_others_are_not_overwritten(shards):
    for content in (b'', b'mine', jpeg(1)):
        (shards / 'index.npy').write_bytes(content)
        with pytest.raises(InputError, match=r"index.npy' is no index of tars, or is cut off: remove it, or set index"):
            TarImages(str(shards), views=VIEWS)
        assert (shards / 'index.npy').read_bytes() == content
    np.save(shards / 'index.npy', np.arange(5))
    with pytest.raises(InputError, match='is no index of tars'):
        TarImages(str(shards), views=VIEWS)
    (shards / 'index.npy').unlink()
    TarImages(str(shards), views=VIEWS)
    os.truncate(shards / 'index.npy', os.path.getsize(shards / 'index.npy') - 5)
    with pytest.raises(InputError, match='is no index of tars, or is cut off'):
        TarImages(str(shards), views=VIEWS)


@pytest.mark.parametrize('kept, message', [(11, 'cut off or damaged (unexpected end of data)'), (12, 'cut off, for it has no end')])
def test_a_tar_that_is_cut_off_gives_what_is_whole(shards, said, kept, message):
    end = max(member.offset_data + member.size for member in tarfile.open(shards / 'c.tar'))
    os.truncate(shards / 'c.tar', end - 100 if kept == 11 else end + -end % 512)
    dataset = TarImages(str(shards), views=VIEWS)
    assert len(dataset) == kept and all(dataset.whole_image(i) for i in range(kept))
    warning, = [text for text in said if 'c.tar is' in text]
    assert message in warning and f'its first {kept - 6} images are used' in warning
    said.clear()
    TarImages(str(shards), views=VIEWS)
    assert said == [warning], 'a later run says it again'


def test_a_tar_with_a_broken_header_gives_what_is_in_front_of_it(shards, said):
    data = bytearray((shards / 'c.tar').read_bytes())
    third = [member.offset for member in tarfile.open(shards / 'c.tar')][2]
    data[third:third + 512] = bytes(range(256)) * 2
    (shards / 'c.tar').write_bytes(data)
    assert len(TarImages(str(shards), views=VIEWS)) == 8
    assert any(f'c.tar is damaged at byte {third}' in text for text in said)


def test_another_run_may_replace_the_index(shards, monkeypatch, said):
    names = ['a.tar', 'b/0.tar', 'c.tar']
    first = TarImages(str(shards), names[:1], views=VIEWS)
    expected = [tensor.images for tensor in (first[3]['global'], first[3]['local'])]
    TarImages(str(shards), names[1:], views=VIEWS)  # of other tars, in the same file
    spawned = pickle.loads(pickle.dumps(first))
    assert all(map(torch.equal, expected, (spawned[3]['global'].images, spawned[3]['local'].images)))

    replaced, found = [], tar_index._read

    def read(path):
        answer = found(path)
        if answer[0] and not replaced:  # between reading the tars and mapping the rows
            replaced.append(os.replace(shutil.copy(path, f'{path}.copy'), path))
        return answer
    monkeypatch.setattr(tar_index, '_read', read)
    assert len(TarImages(str(shards), names[:1], views=VIEWS)) == 5 and replaced == [None]


def test_a_second_tar_in_one_file_is_told(shards, said):
    (shards / 'c.tar').write_bytes((shards / 'c.tar').read_bytes() + (shards / 'a.tar').read_bytes())
    assert len(TarImages(str(shards), views=VIEWS)) == 12
    assert any('c.tar is several tars in one file, of which the first is read' in text for text in said)


def test_files_without_a_name_are_passed_over_and_one_tar_has_one_name(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name in ('', '.', '/', 'a.jpg'):
            write(tar, name, jpeg(1))
    assert len(TarImages(str(tmp_path), ['a.tar', './a.tar'], views=VIEWS)) == 1


@pytest.mark.parametrize('name, content, message', [
    ('d.tar', b'', r'1 of the 4 tars that were looked into are none, first .*d.tar is not a tar \(empty file\): copy or download'),
    ('d.tar', b'<html>404</html>' * 99, 'd.tar is not a tar'),
    ('d.tar', b'\x1f\x8b\x08\0\0\0\0\0' * 99, r"d.tar' is compressed \(gzip\), so that no image .*: unpack it to a plain .tar"),
    ('d.tar', b'\x28\xb5\x2f\xfd' * 200, r"d.tar' is compressed \(zstd\)"),
])
def test_what_is_no_tar_is_refused(shards, name, content, message):
    (shards / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        TarImages(str(shards), views=VIEWS)
    assert not (shards / 'index.npy').exists()


def test_where_no_images_are_is_said(tmp_path, said):
    with pytest.raises(InputError, match=r"no tar in '.*' is named \*\*/\*.tar: set data_root and shards"):
        TarImages(str(tmp_path), views=VIEWS)
    (tmp_path / 'x.tar.gz').write_bytes(b'\x1f\x8b')
    with pytest.raises(InputError, match="'x.tar.gz' is compressed"):
        TarImages(str(tmp_path), views=VIEWS)
    (tmp_path / 'folder.tar').mkdir()
    with pytest.raises(InputError, match=r'3 of the tars of .* do not exist, first 08.tar, 09.tar, 10.tar'):
        TarImages(str(tmp_path), ['{08..10}.tar'], views=VIEWS)
    with tarfile.open(tmp_path / 'empty.tar', 'w'):
        pass
    with pytest.raises(InputError, match=r"no image in the 1 tars of '.*', first empty.tar"):
        TarImages(str(tmp_path), views=VIEWS)


def test_few_files_are_open_at_a_time(shards):
    reader = tars.Tars(str(shards), limit=2)
    for name in ('a.tar', 'b/0.tar', 'a.tar', 'c.tar', 'a.tar'):
        assert reader.read(name, 257, 5) == b'ustar'
    assert [*reader._open] == ['c.tar', 'a.tar']
    with pytest.raises(OSError, match=r'a.tar. ends before byte'):
        reader.read('a.tar', 0, 10 ** 6)


def test_braces():
    assert tars.expand('{008..010}/{a,b}.tar') == [f'{i}/{end}.tar' for i in ('008', '009', '010') for end in 'ab']
    assert tars.expand('x{1}.tar') == ['x{1}.tar'] and tars.expand('{9..10}') == ['9', '10']


def test_one_process_looks_through_the_tars_and_its_refusal_is_that_of_all(shards):
    def rank() -> None:
        torch.distributed.init_process_group('gloo')
        assert len(TarImages(str(shards), views=VIEWS)) == 12
        (shards / 'bad.tar').write_bytes(b'')
        torch.distributed.barrier()
        with pytest.raises(InputError, match='bad.tar is not a tar'):
            TarImages(str(shards), views=VIEWS)
        print(f'rank {torch.distributed.get_rank()} is done')
        torch.distributed.destroy_process_group()
    output = run_ranks(rank, 2)
    assert output.count('is done') == 2


def test_an_error_of_the_first_process_is_that_of_all(shards, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    def rank() -> None:
        torch.distributed.init_process_group('gloo')
        monkeypatch.setattr(tar_index, '_write', full)
        with pytest.raises((OSError, InputError), match='No space left on device'):
            TarImages(str(shards), views=VIEWS)
        torch.distributed.destroy_process_group()
    run_ranks(rank, 2)


def test_tars_behind_an_address_are_copied_to_a_bounded_cache(shards, image_root, tmp_path, said):
    pytest.importorskip('fsspec')
    local = TarImages(str(shards), views=VIEWS)
    size = os.path.getsize(shards / 'a.tar')
    remote = TarImages(f'file://{shards}', views=VIEWS, cache=str(tmp_path), cache_gb=2.5 * size / 1e9)
    assert len(remote) == 12 and [*image_names(remote)] == [*image_names(local)]
    for index in range(12):
        assert torch.equal(remote[index]['global'].images, local[index]['global'].images)
        assert sum(path.stat().st_size for path in tmp_path.rglob('*.tar')) <= 2.5 * size
    assert not list(tmp_path.rglob('*.partial'))
    batch, = DataLoader(remote, 12, collate_fn=collate_views, num_workers=1)
    assert torch.equal(batch['local'].images[:, 3], local[3]['local'].images)
    said.clear()
    tight = TarImages(f'file://{shards}', '{a,c}.tar', views=VIEWS, cache=str(tmp_path / 'tight'), cache_gb=0.9 * size / 1e9)
    assert torch.equal(tight[2]['global'].images, local[2]['global'].images)
    assert not list((tmp_path / 'tight').rglob('*.tar'))


def test_a_copy_that_ends_early_is_fetched_again(shards, tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    from fsspec.implementations.local import LocalFileSystem
    monkeypatch.setattr(tars, 'PAUSE', 0)
    whole, fetched = LocalFileSystem.get_file, []

    def get_file(self, path, copy, **kwargs):
        whole(self, path, copy, **kwargs)
        fetched.append(path)
        if len(fetched) <= 2:
            os.truncate(copy, 700)
    monkeypatch.setattr(LocalFileSystem, 'get_file', get_file)
    remote = TarImages(f'file://{shards}', views=VIEWS, cache=str(tmp_path))
    assert len(fetched) == 3 + 2 and len(remote) == 12 and all(remote.whole_image(i) for i in range(12))
    store = tars.RemoteTars('memory://void', tmp_path)
    monkeypatch.setattr(store, '_fetch', lambda *_: (_ for _ in ()).throw(OSError('3 of 9 bytes came')))
    store._stamps['x.tar'] = (9, '')
    with pytest.raises(InputError, match=r"x.tar' cannot be read \(OSError: 3 of 9 bytes came\)"):
        store._local('x.tar')


def test_what_is_wrong_with_an_address_is_said(tmp_path, monkeypatch):
    pytest.importorskip('fsspec')
    monkeypatch.setattr(tars, 'PAUSE', 0)
    with pytest.raises(InputError, match=r"'nowhere://x' is an address that fsspec cannot read \(Protocol not known: nowhere"):
        TarImages('nowhere://x', views=VIEWS)
    with pytest.raises(InputError, match="no tar in 'memory://void' is named"):
        TarImages('memory://void', views=VIEWS, cache=str(tmp_path))
    store = tars.RemoteTars('memory://void', tmp_path)
    calls = []
    with pytest.raises(InputError, match=r"'memory://void/x.tar' cannot be read \(OSError: no route\): check the address"):
        store._ask(lambda files, path: calls.append(path) or (_ for _ in ()).throw(OSError('no route')), 'x.tar')
    assert len(calls) == 3
    monkeypatch.setitem(__import__('sys').modules, 'fsspec.core', None)
    with pytest.raises(InputError, match="'s3://bucket' is read with fsspec, which is not installed: pip install fsspec, with s3fs"):
        TarImages('s3://bucket', views=VIEWS)
