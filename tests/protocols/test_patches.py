from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from PIL import Image
from processes import run_ranks
from torch.utils.data import DataLoader

from mmdssl.datasets import LabelledFolder, SegmentedImages
from mmdssl.engine.feature_cache import FeatureCache
from mmdssl.errors import InputError
from mmdssl.protocols.closed_form import ClosedFormMetric
from mmdssl.protocols.dense_knn import HummingbirdMetric
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.overclustering import OverclusteringMetric
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.protocols.positions import PositionMetric
from mmdssl.registry import MODELS

PATCHES = Extractor(read='patches')


@pytest.fixture
def model(tiny_backbone):
    return MODELS.build(dict(type='mmdssl.FrozenBackbone', backbone=tiny_backbone)).eval()


@pytest.fixture
def root(tmp_path):
    """Five images, the second one of which is damaged."""
    rng = np.random.default_rng(0)
    for part in ('images', 'masks'):
        (tmp_path / part).mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / f'images/{i}.jpg')
        Image.fromarray(rng.integers(0, 3, (30, 40), np.uint8)).save(tmp_path / f'masks/{i}.png')
    (tmp_path / 'images/1.jpg').write_bytes(b'none')
    return tmp_path


def patches(model, root, size=16, cache=None, **settings):
    dataset = SegmentedImages(str(root), 'images', 'masks', classes=list('abc'), size=size, **settings)
    loader = DataLoader(dataset, 2, sampler=DefaultSampler(dataset, shuffle=False))
    kept = None if cache is None else FeatureCache(cache, model, {}).read(loader, settings, PATCHES)
    return PatchFeatures(model.backbone, loader, PATCHES, model.data_preprocessor.normalise, kept=kept)


@pytest.mark.parametrize('cached', [False, True])
@pytest.mark.parametrize('settings', [{}, dict(augment=True, epochs=2)])
def test_batches_are_the_patches_and_masks_of_images(model, root, tmp_path, cached, settings):
    found = patches(model, root, cache=tmp_path / 'cache' if cached else None, **settings)
    assert len(found) == 5 * settings.get('epochs', 1) and found.classes == ['a', 'b', 'c']
    assert found.names[:2] == ['images/0.jpg', 'images/1.jpg']
    for _ in range(2):
        seen = []
        for batch in found:
            assert batch.grid == (2, 2) and len(batch.values) == len(batch.masks) == len(batch.index)
            for index, values, mask in zip(batch.index.tolist(), batch.values, batch.masks):
                item = found.dataset[index]
                wanted = PATCHES(model.backbone, model.data_preprocessor.normalise(item['image'][None]))[0]
                torch.testing.assert_close(values, wanted)
                assert torch.equal(mask, item['mask'])
                seen.append(index)
        assert seen == [index for index in range(len(found)) if index % 5 != 1]


def test_what_cannot_be_decoded_is_named_once_read(model, root, monkeypatch):
    said = []
    monkeypatch.setattr('mmdssl.protocols.features.print_log', lambda message, *_: said.append(message))
    found = patches(model, root)
    list(found)
    found.warn_of_unreadable()
    assert said == [f"1 of the 5 images of '{root}' are left out, they cannot be decoded: images/1.jpg"]


@pytest.mark.parametrize('protocol', [HummingbirdMetric, ClosedFormMetric, OverclusteringMetric, PositionMetric])
def test_that_no_image_can_be_decoded_is_said_first(model, root, protocol):
    for path in (root / 'images').iterdir():
        path.write_bytes(b'none')
    with pytest.raises(InputError, match='none of the 5 images of .* can be decoded'):
        protocol()(patches(model, root), patches(model, root))


def share(model, root, cache, folder):
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    for name, where in (('computed', None), ('kept', cache)):
        batches = list(patches(model, root, cache=where))
        np.save(folder / f'{name}{rank}.npy', torch.cat([batch.index for batch in batches]).numpy())
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_images_and_none_is_there_twice(model, root, tmp_path):
    run_ranks(share, 2, model, root, tmp_path / 'cache', tmp_path)
    for name in ('computed', 'kept'):
        shares = [np.load(tmp_path / f'{name}{rank}.npy').tolist() for rank in range(2)]
        assert sorted(sum(shares, [])) == [0, 2, 3, 4] and all(shares)


def test_what_does_not_fit_is_said(model, root):
    with pytest.raises(InputError, match='images of 20 px are not of whole patches of 8 px'):
        list(patches(model, root, size=20))
    (root / 'masks/0.png').unlink()
    dataset = LabelledFolder(str(root), 16, 16)
    with pytest.raises(InputError, match='and LabelledFolder has none: take a SegmentedImages'):
        PatchFeatures(model.backbone, DataLoader(dataset), PATCHES, model.data_preprocessor.normalise)
