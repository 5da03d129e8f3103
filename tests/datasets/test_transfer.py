from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.utils.data import DataLoader
from torchvision import datasets

from mmdssl.datasets import LabelledFolder, TransferDataset
from mmdssl.datasets.images import image_names
from mmdssl.datasets.transfer import ABSENT, DIFFICULT, PRESENT, TRANSFER_SETS, VOC_CLASSES
from mmdssl.errors import InputError


def save_image(path: Path, mode: str = 'RGB') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def labels(dataset) -> list[int]:
    return [dataset[i]['label'] for i in range(len(dataset))]


def shrink(monkeypatch, name: str, num_classes: int) -> None:
    """Let a data set have fewer classes, which take fewer files."""
    monkeypatch.setitem(TRANSFER_SETS, name, TRANSFER_SETS[name]._replace(num_classes=num_classes))


@pytest.fixture
def cifar(tmp_path, monkeypatch) -> Path:
    """CIFAR-10 of two images in each of its files, whose checksums torchvision is told."""
    rng, folder, sums = np.random.default_rng(0), tmp_path / 'cifar-10-batches-py', {}
    folder.mkdir()
    for i, name in enumerate([*(f'data_batch_{n}' for n in range(1, 6)), 'test_batch', 'batches.meta']):
        content = dict(label_names=[f'class {n}' for n in range(10)]) if name == 'batches.meta' else dict(
            data=rng.integers(0, 256, (2, 3072), np.uint8), labels=[i, 9])
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    for part in ('train_list', 'test_list'):
        monkeypatch.setattr(datasets.CIFAR10, part, [[name, sums[name]] for name, _ in getattr(datasets.CIFAR10, part)])
    monkeypatch.setattr(datasets.CIFAR10, 'meta', dict(datasets.CIFAR10.meta, md5=sums['batches.meta']))
    return tmp_path


def test_cifar_from_its_files(cifar):
    train, test = (TransferDataset('cifar10', str(cifar), split, resize=32, size=32) for split in ('train', 'test'))
    assert labels(train) == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9] and labels(test) == [5, 9]
    stored = pickle.loads((cifar / 'cifar-10-batches-py/data_batch_2').read_bytes())['data'][1]
    assert torch.equal(train[3]['image'], torch.from_numpy(stored).view(3, 32, 32))
    assert len(train.classes) == 10 and train.measure == 'top1'


def test_a_damaged_cifar_is_refused(cifar):
    (cifar / 'cifar-10-batches-py/data_batch_3').write_bytes(b'cos\nsystem\n(S"echo"\ntR.')
    with pytest.raises(InputError, match='cifar10 cannot be read.*it needs cifar-10-batches-py'):
        TransferDataset('cifar10', str(cifar))


def test_pets(tmp_path, monkeypatch):
    shrink(monkeypatch, 'pets', 3)
    names = ['Abyssinian_1', 'great_pyrenees_1', 'yorkshire_terrier_1']
    for split, order in (('trainval', names), ('test', names[::-1])):
        write(tmp_path / f'oxford-iiit-pet/annotations/{split}.txt', [f'{name} {names.index(name) + 1} 1 1' for name in order])
    for i, name in enumerate(names):
        save_image(tmp_path / f'oxford-iiit-pet/images/{name}.jpg', 'L' if i % 2 else 'RGB')
    train, test = (TransferDataset('pets', str(tmp_path), split, 10, 8) for split in ('train', 'test'))
    assert labels(train) == [0, 1, 2] and labels(test) == [2, 1, 0] and train.measure == 'mean_per_class'
    # what a class folder gives of the same file
    save_image(tmp_path / 'folder/a/x.jpg')
    Image.open(tmp_path / f'oxford-iiit-pet/images/{names[1]}.jpg').save(tmp_path / 'folder/a/x.png')
    reference = LabelledFolder(str(tmp_path / 'folder'), 10, 8)
    assert torch.equal(train[1]['image'], reference[1]['image']) and train[1].keys() == reference[1].keys()
    write(tmp_path / 'oxford-iiit-pet/annotations/test.txt', [f'{names[0]} 1 1 1'])
    with pytest.raises(InputError, match=r'pets in .* has 1 images of 1 classes .* should have 3 classes: complete the copy'):
        TransferDataset('pets', str(tmp_path), 'test')


@pytest.fixture
def dtd(tmp_path, monkeypatch) -> Path:
    shrink(monkeypatch, 'dtd', 4)
    names = [f'texture{i}' for i in range(4)]
    for number, split in enumerate(('train', 'val', 'test')):
        write(tmp_path / f'dtd/dtd/labels/{split}1.txt', [f'{name}/{name}_{number}.jpg' for name in names])
        for name in names:
            save_image(tmp_path / f'dtd/dtd/images/{name}/{name}_{number}.jpg')
    return tmp_path


def test_parts_can_be_joined_and_names_tell_them(dtd):
    dataset = TransferDataset('dtd', str(dtd), ['train', 'val'], 10, 8)
    assert labels(dataset) == [0, 1, 2, 3, 0, 1, 2, 3]
    names = [*image_names(dataset)]
    assert [name.split('/')[0] for name in names] == 4 * ['train'] + 4 * ['val'] and len(set(names)) == 8
    assert torch.equal(dataset[7]['image'], TransferDataset('dtd', str(dtd), 'val', 10, 8)[3]['image'])


def test_the_files_are_all_that_the_cache_must_know(dtd):
    files = TransferDataset('dtd', str(dtd)).files()
    assert files == sorted(map(str, (path for path in dtd.rglob('*') if path.is_file()))) and len(files) == 15


def test_files_that_cannot_be_decoded_are_marked(dtd):
    (dtd / 'dtd/dtd/images/texture1/texture1_0.jpg').write_bytes(b'none')
    (dtd / 'dtd/dtd/images/texture2/texture2_0.jpg').unlink()
    batch = next(iter(DataLoader(TransferDataset('dtd', str(dtd), 'train', 10, 8), batch_size=4)))
    assert batch['label'].tolist() == [0, -1, -1, 3] and not batch['image'][1:3].any() and batch['image'].shape == (4, 3, 8, 8)


def test_flowers(tmp_path, monkeypatch):
    folder = tmp_path / 'flowers-102'
    for i in range(1, 7):
        save_image(folder / f'jpg/image_{i:05d}.jpg')
    savemat(folder / 'imagelabels.mat', dict(labels=[77, 77, 1, 102, 5, 6]))
    savemat(folder / 'setid.mat', dict(trnid=[1, 3], valid=[4, 2], tstid=[5, 6]))
    sums = {key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
            for key, name in (('label', 'imagelabels.mat'), ('setid', 'setid.mat'))}
    monkeypatch.setattr(datasets.Flowers102, '_file_dict', dict(datasets.Flowers102._file_dict, **sums))
    assert labels(TransferDataset('flowers', str(tmp_path), ['train', 'val'])) == [76, 0, 101, 76]
    assert labels(TransferDataset('flowers', str(tmp_path), 'test')) == [4, 5]


def test_voc_says_of_each_class_whether_it_is_there(tmp_path):
    folder = tmp_path / 'VOCdevkit/VOC2007'
    found = {'000001': [('dog', 0), ('dog', 1), ('person', 1)], '000002': [('aeroplane', 0)], '000003': [('tvmonitor', 1), ('cat', 0)]}
    for name, things in found.items():
        save_image(folder / f'JPEGImages/{name}.jpg')
        write(folder / f'Annotations/{name}.xml', ['<annotation>', *(
            f'<object><name>{thing}</name><difficult>{hard}</difficult></object>' for thing, hard in things), '</annotation>'])
    write(folder / 'ImageSets/Main/train.txt', ['000001', '000003'])
    write(folder / 'ImageSets/Main/test.txt', ['000002'])
    train = TransferDataset('voc07', str(tmp_path), 'train')
    states = next(iter(DataLoader(train, batch_size=2)))['label']
    assert {VOC_CLASSES[k]: state for k, state in enumerate(states[0].tolist()) if state} == dict(dog=PRESENT, person=DIFFICULT)
    assert {VOC_CLASSES[k]: state for k, state in enumerate(states[1].tolist()) if state} == dict(cat=PRESENT, tvmonitor=DIFFICULT)
    assert TransferDataset('voc07', str(tmp_path), 'test')[0]['label'].tolist() == [PRESENT] + 19 * [ABSENT]
    (folder / 'JPEGImages/000001.jpg').write_bytes(b'none')
    assert train[0]['label'].tolist() == 20 * [-1]


def test_caltech_draws_thirty_of_each_class(tmp_path, monkeypatch):
    shrink(monkeypatch, 'caltech101', 2)
    folder = tmp_path / 'caltech101/101_ObjectCategories'
    for name, number in (('chair', 33), ('yin_yang', 2)):
        for n in range(1, number + 1):
            save_image(folder / f'{name}/image_{n:04d}.jpg')
    (folder / 'BACKGROUND_Google').mkdir()
    (tmp_path / 'caltech101/Annotations').mkdir()
    train, test = (TransferDataset('caltech101', str(tmp_path), split, 10, 8) for split in ('train', 'test'))
    assert Counter(labels(train)) == {0: 30, 1: 2} and Counter(labels(test)) == {0: 3}
    again = TransferDataset('caltech101', str(tmp_path), 'test', 10, 8)
    assert all(torch.equal(again[i]['image'], test[i]['image']) for i in range(3))


def test_the_first_partition_of_sun397(tmp_path, monkeypatch):
    shrink(monkeypatch, 'sun397', 3)
    write(tmp_path / 'SUN397/ClassName.txt', ['/a/abbey', '/b/bar/indoor', '/b/bar/outdoor'])
    files = ['/a/abbey/sun_1.jpg', '/b/bar/indoor/sun_2.jpg', '/b/bar/outdoor/sun_3.jpg', '/b/bar/outdoor/sun_4.jpg']
    for file in files:
        save_image(tmp_path / f'SUN397{file}')
    with pytest.raises(InputError, match=r'sun397 cannot be read .*SUN397/Partitions'):
        TransferDataset('sun397', str(tmp_path))
    write(tmp_path / 'SUN397/Partitions/Training_01.txt', [files[3], files[0]])
    write(tmp_path / 'SUN397/Partitions/Testing_01.txt', [files[1], files[2]])
    assert labels(TransferDataset('sun397', str(tmp_path), 'train')) == [2, 0]
    assert labels(TransferDataset('sun397', str(tmp_path), 'test')) == [1, 2]


def test_the_lists_of_inaturalist(tmp_path, monkeypatch):
    shrink(monkeypatch, 'inat19', 3)
    for i, place in enumerate(('Birds/0', 'Fungi/1', 'Birds/2')):
        for n in range(2):
            save_image(tmp_path / f'2019/{place}/{i}{n}.jpg')
    for part, names in (('train', ['Birds/2/20.jpg', 'Fungi/1/10.jpg']), ('val', ['Birds/0/01.jpg'])):
        (tmp_path / f'{part}2019.json').write_text(json.dumps(dict(images=[dict(file_name=f'train_val2019/{name}') for name in names])))
    train = TransferDataset('inat19', str(tmp_path), 'train')
    assert [train.classes[label] for label in labels(train)] == ['Birds/2', 'Fungi/1']
    assert labels(TransferDataset('inat19', str(tmp_path), 'test')) == [train.classes.index('Birds/0')]
    assert len(train.files()) == 8 and f'{tmp_path}/train2019.json' in train.files()  # another list would be other data


@pytest.mark.parametrize('name', TRANSFER_SETS)
def test_data_that_is_not_there_is_one_sentence_and_makes_no_folder(tmp_path, name):
    with pytest.raises(InputError, match=f"'{tmp_path}/none' is not a folder: {name} needs one with "):
        TransferDataset(name, f'{tmp_path}/none')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match=f"{name} cannot be read from '{tmp_path}/empty' .*: it needs .* there") as error:
        TransferDataset(name, f'{tmp_path}/empty', 'test')
    assert 'download' not in str(error.value) and '\n' not in str(error.value) and not (tmp_path / 'none').exists()


def test_settings_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="split='val' of pets: it has train, test"):
        TransferDataset('pets', str(tmp_path), ['train', 'val'])
    with pytest.raises(InputError, match='did you mean'):
        TransferDataset('flower', str(tmp_path))
    with pytest.raises(InputError, match='larger than resize'):
        TransferDataset('pets', str(tmp_path), size=300)
