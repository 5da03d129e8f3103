from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdssl.datasets import Copydays
from mmdssl.errors import InputError
from mmdssl.protocols.copy_detection import Whitening, copy_precision
from mmdssl.protocols.descriptors import ImageDescriptor


def photo(path: Path, seed: int, scale: int = 1) -> None:
    """Coarse noise, the same for the same seed, in any size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).resize((40 * scale, 30), Image.Resampling.NEAREST).save(path, quality=95)


@pytest.fixture
def root(tmp_path) -> Path:
    """Three originals with one or two copies each; nine other photos."""
    for i in range(3):
        photo(tmp_path / f'copydays/original/20{i}000.jpg', i)
    for name, seed in (('200001', 0), ('200002', 0), ('201001', 1), ('202007', 2)):
        photo(tmp_path / f'copydays/strong/{name}.jpg', seed, scale=2)
    for i in range(9):
        photo(tmp_path / f'others/{i}.jpg', 100 + i)
    return tmp_path


def test_an_item_says_what_it_is_for(root):
    dataset = Copydays(str(root / 'copydays'), distractors=str(root / 'others'), num_distractors=4, whitening=str(root / 'others'), size=24)
    roles, blocks = dataset.metainfo['roles'], dataset.metainfo['blocks']
    assert roles == ['database'] * 3 + ['query'] * 4 + ['distractor'] * 4 + ['whitening'] * 5
    assert blocks[:7] == ['2000', '2010', '2020', '2000', '2000', '2010', '2020']
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert len(set(paths)) == 16  # no photo is both a distractor and for the whitening
    again = Copydays(str(root / 'copydays'), distractors=str(root / 'others'), num_distractors=4, size=24)
    assert [again.get_data_info(i)['img_path'] for i in range(11)] == paths[:11] and len(again) == 11
    pixels = Image.open(root / 'copydays/strong/200001.jpg').resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(dataset[3]['image'].permute(1, 2, 0), pixels) and dataset[3]['index'] == 3


def test_what_is_missing_is_named_at_once(root):
    with pytest.raises(InputError, match="all images of .*others' are distractors already"):
        Copydays(str(root / 'copydays'), distractors=str(root / 'others'), whitening=str(root / 'others'))
    (root / 'copydays/original/201000.jpg').unlink()
    with pytest.raises(InputError, match='1 of the 4 copies .* have no original.*201001.jpg.: complete the folder'):
        Copydays(str(root / 'copydays'))
    shutil.rmtree(root / 'copydays/strong')
    with pytest.raises(InputError, match="strong' is not a folder"):
        Copydays(str(root / 'copydays'))


def test_whitening_number_by_number():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) * [3, 1, 1e-4, 0.5, 2] + [1, 1, 0, 1, 1]
    found = Whitening.of(torch.from_numpy(x).float())(torch.from_numpy(x).float()).numpy()
    moments, vectors = np.linalg.eigh(x.T @ x / 60)  # not centred
    scale = np.maximum(moments, 1e-5 * moments.max())**-0.5
    wanted = np.array([[(row - x.mean(0)) @ vector * each for vector, each in zip(vectors.T, scale)] for row in x])
    assert np.abs(np.abs(found) - np.abs(wanted)).max() < 1e-3  # but for the sign of a direction
    assert moments.min() < 1e-5 * moments.max()  # so that a limit was needed


def test_precision_of_the_first_few():
    database = torch.eye(6)
    queries = torch.tensor([[9., 5, 4, 3, 2, 1], [1., 2, 3, 4, 5, 9], [5., 9, 0, 0, 0, 0]])
    blocks = ['a', 'b', 'c', None, None, 'c']
    assert copy_precision(queries[:1], ['a'], database, blocks) == 1
    assert copy_precision(queries[1:2], ['a'], database, blocks) == pytest.approx((0 / 5 + 1 / 6) / 2)
    assert copy_precision(queries[1:2], ['a'], database, blocks, top=5) == 0  # found too late
    assert copy_precision(queries[2:], ['a'], database, blocks) == pytest.approx((0 / 1 + 1 / 2) / 2)
    two = ((1 / 1 + 1) / 2 + (1 / 3 + 2 / 4) / 2) / 2  # ranks 0 and 3 of two positives
    assert copy_precision(queries[1:2], ['c'], database, blocks) == pytest.approx(two)
    assert copy_precision(queries, ['a', 'a', 'a'], database, blocks) == pytest.approx((1 + 1 / 12 + 1 / 4) / 3)


def test_copies_from_the_command_line_with_one_process_and_two(root, tiny_backbone, tiny_weights, evaluated):
    config, others = 'configs/retrieval/copydays.py', f'test_dataloader.dataset.distractors={root}/others'
    options = [others, 'test_dataloader.dataset.num_distractors=4', f'test_dataloader.dataset.whitening={root}/others',
               'test_dataloader.dataset.size=32']
    found = evaluated(config, root / 'copydays', *options)
    assert evaluated(config, root / 'copydays', *options, processes=2) == found
    dataset = Copydays(str(root / 'copydays'), distractors=str(root / 'others'), num_distractors=4, whitening=str(root / 'others'), size=32)
    model = ImageDescriptor(dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))),
                            extractor=dict(read='class'), gem=4)
    described = np.stack([model([dataset[i]])[0]['descriptor'].numpy() for i in range(len(dataset))]).astype(float)
    moments, vectors = np.linalg.eigh(described[11:].T @ described[11:] / 5)
    white = (described - described[11:].mean(0)) @ (vectors * np.maximum(moments, 1e-5 * moments.max())**-0.5)
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    ranks = [np.argsort(-(white[[0, 1, 2, 7, 8, 9, 10]] @ query)).tolist().index(i) for query, i in zip(white[3:7], (0, 0, 1, 2))]
    wanted = np.mean([((1 if rank == 0 else 0) + 1 / (rank + 1)) / 2 for rank in ranks])
    assert found['mAP'] == pytest.approx(100 * wanted, abs=1e-3)
