from __future__ import annotations

from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import Runner

from mmdssl.datasets import EndlessSampler, EpochSampler, samplers
from mmdssl.errors import InputError

VIEWS = {'global': dict(size=16, scale=(.14, 1.))}


def sampler_of(rank: int, world_size: int, monkeypatch, size: int = 103, **kwargs) -> EpochSampler:
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world_size))
    return EpochSampler(range(size), **kwargs)


@pytest.mark.parametrize('world_size', [2, 4])
def test_ranks_together_see_what_one_process_sees(world_size, monkeypatch):
    whole = list(sampler_of(0, 1, monkeypatch))
    ranks = [list(sampler_of(rank, world_size, monkeypatch)) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {103 // world_size}
    per_rank = 3
    for step in range(103 // (world_size * per_rank)):
        together = {key for rank in ranks for key in rank[step * per_rank:(step + 1) * per_rank]}
        batch = world_size * per_rank
        assert together == set(whole[step * batch:(step + 1) * batch]) and len(together) == batch


def test_order_depends_on_seed_and_epoch(monkeypatch):
    sampler = sampler_of(0, 1, monkeypatch, seed=3)
    first = list(sampler)
    assert list(sampler) == first and sorted(first) == [(3, 0, index) for index in range(103)]
    sampler.set_epoch(4)
    assert {epoch for _, epoch, _ in sampler} == {4}
    orders = {tuple(index for *_, index in keys) for keys in (first, sampler, sampler_of(0, 1, monkeypatch, seed=4))}
    assert len(orders) == 3
    assert list(sampler_of(0, 1, monkeypatch, seed=None)) == list(sampler_of(0, 1, monkeypatch, seed=0))
    assert [index for *_, index in sampler_of(0, 1, monkeypatch, shuffle=False)] == list(range(103))


def test_skip_resumes_inside_one_epoch(monkeypatch):
    sampler = sampler_of(1, 2, monkeypatch)
    whole = list(sampler)
    sampler.skip(20)
    assert len(sampler) == len(whole) == 51
    assert list(sampler) == whole[20:]
    assert list(sampler) == whole


def loader_of(image_root, **kwargs):
    return Runner.build_dataloader(dict(
        dataset=dict(type='mmdssl.ImageFolder', data_root=str(image_root), views=VIEWS), batch_size=2, drop_last=True,
        sampler=dict(type='mmdssl.EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'), **kwargs), seed=5)


def test_mmengine_builds_the_loader_and_sets_the_epoch(image_root):
    loader = loader_of(image_root, num_workers=1, persistent_workers=True)
    assert loader.sampler.seed == 5 and len(loader) == 6
    epochs = []
    for epoch in (0, 1):
        runner = SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader), epoch=epoch)
        DistSamplerSeedHook().before_train_epoch(runner)
        epochs.append(list(loader))
        assert sorted(torch.cat([batch.indices for batch in epochs[-1]]).tolist()) == list(range(12))
    loader.sampler.skip(4)
    resumed = list(loader)
    assert len(resumed) == 4
    for batch, expected in zip(resumed, epochs[1][2:]):
        assert torch.equal(batch['global'].images, expected['global'].images)


def test_views_do_not_depend_on_the_number_of_ranks(image_root, monkeypatch):
    whole = {int(i): image for batch in loader_of(image_root)
             for i, image in zip(batch.indices, batch['global'].images[0])}
    for rank in range(2):
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 2))
        for batch in loader_of(image_root):
            for i, image in zip(batch.indices, batch['global'].images[0]):
                assert torch.equal(whole.pop(int(i)), image)
    assert not whole


@pytest.mark.parametrize('world_size', [1, 4])
def test_repeated_augmentation(world_size, monkeypatch):
    """DeiT's counts: an epoch of as many samples as there are images, each of a third of them three times, on different ranks."""
    ranks = [list(sampler_of(rank, world_size, monkeypatch, size=96, repeats=3)) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {96 // world_size}
    together = [key for step in zip(*ranks) for key in step]
    images = {index for *_, index, _ in together}
    assert len(images) == 32 and len(set(together)) == 96
    assert all(together[3 * i:3 * i + 3] == [(0, 0, together[3 * i][2], copy) for copy in range(3)] for i in range(32))
    if world_size == 4:
        for index in images:
            assert len([rank for rank in ranks if any(key[2] == index for key in rank)]) == 3
    once = list(sampler_of(0, 1, monkeypatch, size=96))
    assert [key[:3] for key in together[::3]] == once[:32], 'in the order of an epoch without repeats'
    other = sampler_of(0, 1, monkeypatch, size=96, repeats=3)
    other.set_epoch(1)
    assert {index for *_, index, _ in other} != images
    resumed = sampler_of(0, world_size, monkeypatch, size=96, repeats=3)
    resumed.skip(7)
    assert list(resumed) == ranks[0][7:]


class Shards:
    """Ten tars, one of them empty."""
    shard_sizes = np.array([10, 12, 1, 0, 20, 7, 13, 15, 5, 20])

    def __len__(self):
        return 103


def in_shards(rank: int, world_size: int, monkeypatch, **kwargs) -> EpochSampler:
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world_size))
    return EpochSampler(Shards(), shards_together=3, **kwargs)


def test_shards_are_shuffled_and_images_among_some_of_them(monkeypatch):
    shard = np.repeat(np.arange(10), Shards.shard_sizes)
    orders = []
    for epoch in range(3):
        sampler = in_shards(0, 1, monkeypatch, seed=2)
        sampler.set_epoch(epoch)
        order = [index for *_, index in sampler]
        assert sorted(order) == list(range(103)) and order == [index for *_, index in sampler]
        orders.append(order)
        drawn = np.random.default_rng((2, epoch)).permutation(10).tolist()
        for block in (drawn[0:3], drawn[3:6], drawn[6:9], drawn[9:]):
            some, order = order[:Shards.shard_sizes[block].sum()], order[Shards.shard_sizes[block].sum():]
            assert {*shard[some].tolist()} == {*block} - {3} and (len(block) == 1 or np.any(np.diff(shard[some], n=2)))
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize('world_size', [2, 4])
def test_in_shards_too_ranks_see_what_one_process_sees_and_resume_in_an_epoch(world_size, monkeypatch):
    whole = list(in_shards(0, 1, monkeypatch, seed=1))
    ranks = [list(in_shards(rank, world_size, monkeypatch, seed=1)) for rank in range(world_size)]
    assert [key for step in zip(*ranks) for key in step] == whole[:103 - 103 % world_size]
    resumed = in_shards(1, world_size, monkeypatch, seed=1)
    resumed.skip(9)
    assert list(resumed) == ranks[1][9:] and list(resumed) == ranks[1]
    assert [key[2] for key in in_shards(0, 1, monkeypatch, shuffle=False)] == list(range(103))


def test_images_that_are_in_no_shards_are_not_shuffled_by_them():
    with pytest.raises(InputError, match='shards_together=2, and the images of range are not in shards: leave it out, or train on'):
        EpochSampler(range(5), shards_together=2)


@pytest.mark.parametrize('chunk', [1, 5, 1000])
def test_the_order_is_that_of_all_runs_so_far(chunk, monkeypatch):
    monkeypatch.setattr(samplers, 'CHUNK', chunk)
    order = np.arange(103)
    np.random.default_rng((7, 2)).shuffle(order)
    sampler = sampler_of(1, 2, monkeypatch, seed=7)
    sampler.set_epoch(2)
    assert list(sampler) == [(7, 2, index) for index in order[1:102:2].tolist()]


def test_an_endless_one_goes_through_the_epochs_and_skips_whole_ones_too(monkeypatch):
    single = sampler_of(1, 2, monkeypatch, size=11, seed=3)
    epochs = []
    for epoch in range(4):
        single.set_epoch(epoch)
        epochs.append(list(single))
    wanted = list(chain(*epochs))
    endless = EndlessSampler(range(11), seed=3)
    assert list(islice(endless, 18)) == wanted[:18] and len(endless) == 5
    for skipped in (3, 5, 12):
        resumed = EndlessSampler(range(11), seed=3)
        resumed.skip(skipped)
        assert list(islice(resumed, 8)) == wanted[skipped:skipped + 8]
    with pytest.raises(InputError, match='the training data has 1 images, fewer than the 2 processes'):
        next(iter(EndlessSampler(range(1))))
