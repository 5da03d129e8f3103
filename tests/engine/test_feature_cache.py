from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from processes import run_ranks
from torch.utils.data import DataLoader
from toy import colour_folders

from mmdssl.datasets import LabelledFolder
from mmdssl.engine import feature_cache
from mmdssl.engine.feature_cache import FeatureCache
from mmdssl.protocols.features import Extractor, extract
from mmdssl.registry import MODELS

POOLED = Extractor()


@pytest.fixture
def model(tiny_backbone):
    return MODELS.build(dict(type='mmdssl.FrozenBackbone', backbone=tiny_backbone)).eval()


@pytest.fixture
def folder(tmp_path):
    return colour_folders(tmp_path / 'data') / 'train'


def read(model, folder, cache, extractor=POOLED, size=16, amp=None, config=None):
    settings = dict(type='LabelledFolder', data_root=str(folder), resize=size, size=size)
    dataset = LabelledFolder(str(folder), size, size)
    loader = DataLoader(dataset, 5, sampler=DefaultSampler(dataset, shuffle=False))
    return FeatureCache(cache, model, config or {}, amp).read(loader, settings, extractor)


def fresh(model, folder, extractor=POOLED):
    dataset = LabelledFolder(str(folder), 16, 16)
    loader = DataLoader(dataset, 5, sampler=DefaultSampler(dataset, shuffle=False))
    return extract(model.backbone, loader, extractor, model.data_preprocessor.normalise)


def equal(one, other) -> bool:
    return (torch.equal(one.values, other.values) and torch.equal(one.labels, other.labels)
            and (one.classes, one.names) == (other.classes, other.names))


@pytest.fixture
def runs(monkeypatch):
    """How often a backbone has run."""
    times = []
    call = Extractor.__call__
    monkeypatch.setattr(Extractor, '__call__', lambda *args: times.append(1) or call(*args))
    return times


@pytest.mark.parametrize('extractor', [Extractor(), Extractor(blocks=2, read='patches')])
def test_what_is_read_is_what_was_computed(model, folder, tmp_path, runs, extractor):
    written = read(model, folder, tmp_path / 'cache', extractor)
    assert len(runs) == 3
    again = read(model, folder, tmp_path / 'cache', extractor)
    assert len(runs) == 3
    expected = fresh(model, folder, extractor)
    assert equal(written, expected) and equal(again, expected)
    assert len(again) == 12  # the damaged one is left out
    assert again.names[4:6] == ['green/0.png', 'green/1.png']


def test_what_cannot_be_decoded_is_said_of_features_from_the_cache_too(model, folder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmdssl.protocols.features.print_log', lambda message, *_: said.append(message))
    for _ in range(2):
        read(model, folder, tmp_path / 'cache')
    assert said == [f"1 of the 13 images of '{folder}' are left out, they cannot be decoded: blue/damaged.png"] * 2


def test_other_weights_data_and_settings_have_files_of_their_own(model, folder, tmp_path, runs):
    cache = tmp_path / 'cache'
    read(model, folder, cache)
    read(model, folder, cache, Extractor(read='mean'))
    read(model, folder, cache, size=24)
    read(model, folder, cache, amp='bf16')
    with torch.no_grad():
        model.backbone.blocks[0].attn.proj.bias[0] += 1e-6
    read(model, folder, cache)
    os.utime(folder / 'red/0.png', ns=(0, 0))
    read(model, folder, cache)
    (folder / 'red/1.png').rename(folder / 'green/one.png')
    read(model, folder, cache)
    assert len(runs) == 7 * 3 and len(list(cache.iterdir())) == 7


def test_the_network_counts_and_not_where_its_weights_were_loaded_from(model, folder, tmp_path, runs, tiny_backbone):
    configs = [dict(backbone=tiny_backbone), dict(backbone=dict(tiny_backbone, init_cfg=dict(type='SSLPretrained', checkpoint='a.pth'))),
               dict(backbone=dict(tiny_backbone, position_rule='dino'))]
    for config in configs:
        read(model, folder, tmp_path / 'cache', config=config)
    assert len(runs) == 2 * 3


def test_a_file_of_other_weights_is_never_used(model, folder, tmp_path):
    cache = tmp_path / 'cache'
    read(model, folder, cache)
    theirs, = cache.iterdir()
    with torch.no_grad():
        model.backbone.norm.bias += 1
    expected = read(model, folder, cache)
    ours, = set(cache.iterdir()) - {theirs}
    theirs.replace(ours)  # under the name of ours
    assert equal(read(model, folder, cache), expected)


@pytest.mark.parametrize('damage', [
    lambda content: content[:-40], lambda content: content[:700], lambda content: b'', lambda content: content + b'0',
    lambda content: content[:-500] + bytes([content[-500] ^ 1]) + content[-499:]])
def test_damaged_files_are_computed_again(model, folder, tmp_path, runs, damage):
    expected = read(model, folder, tmp_path / 'cache')
    file, = (tmp_path / 'cache').iterdir()
    content = file.read_bytes()
    file.unlink()  # which is still mapped into memory
    file.write_bytes(damage(content))
    assert equal(read(model, folder, tmp_path / 'cache'), expected)
    assert len(runs) == 6 and file.read_bytes() == content


@pytest.mark.parametrize('when', ['share', 'file'])
def test_a_full_disk_leaves_nothing_behind(model, folder, tmp_path, monkeypatch, when):
    def full(*args):
        yield b'head'
        raise OSError(errno.ENOSPC, 'No space left on device')
    cache = tmp_path / 'cache'
    if when == 'share':
        monkeypatch.setattr('tempfile.TemporaryFile', lambda **kwargs: open('/dev/full', 'wb', buffering=0))
    else:
        monkeypatch.setattr('mmdssl.engine.feature_cache._contents', full)
    with pytest.raises(OSError, match='No space left') as caught:
        read(model, folder, cache)
    assert str(caught.value.filename).startswith(str(cache)) and not list(cache.iterdir())


def test_two_runs_that_compute_the_same_at_once(model, folder, tmp_path, monkeypatch):
    contents, found = feature_cache._contents, []

    def interrupted(*args):
        parts = contents(*args)
        yield next(parts)
        monkeypatch.setattr(feature_cache, '_contents', contents)
        found.append(read(model, folder, tmp_path / 'cache'))
        yield from parts
    monkeypatch.setattr(feature_cache, '_contents', interrupted)
    found.append(read(model, folder, tmp_path / 'cache'))
    expected = fresh(model, folder)
    assert len(found) == 2 and all(equal(each, expected) for each in found)
    assert len(list((tmp_path / 'cache').iterdir())) == 1


def share(model, folder, cache, files):
    torch.distributed.init_process_group('gloo')
    features = read(model, folder, cache, Extractor(read='patches'))
    rank = torch.distributed.get_rank()
    np.save(files / f'{rank}.npy', features.values.numpy())
    torch.distributed.destroy_process_group()


def test_two_processes_write_one_file_of_what_one_computes(model, folder, tmp_path):
    run_ranks(share, 2, model, folder, tmp_path / 'cache', tmp_path)
    expected = fresh(model, folder, Extractor(read='patches'))
    for rank in range(2):
        torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / f'{rank}.npy')), expected.values)
    assert len(list((tmp_path / 'cache').iterdir())) == 1
