from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from mmdssl.datasets import ViewGroup, Views


def sample(index: int, num: int = 2) -> Views:
    generator = torch.Generator().manual_seed(index)
    group = ViewGroup(torch.randint(256, (num, 3, 8, 8), generator=generator, dtype=torch.uint8),
                      torch.rand(num, 4, generator=generator), torch.rand(num, generator=generator) > .5,
                      torch.rand(num, 4, 4, generator=generator) > .7)
    group.masks[0] &= index != 1  # an unmasked crop
    local = ViewGroup(group.images[:1, :, :4, :4], group.boxes[:1], group.flips[:1])
    return Views({'global': group, 'local': local}, torch.tensor(index), [f'{index}.jpg'] * (index == 2))


def test_collate_stacks_images_behind_views():
    samples = [sample(index) for index in range(3)]
    batch = Views.collate(samples)
    assert batch.indices.tolist() == [0, 1, 2] and batch.skipped == ['2.jpg'] and list(batch) == ['global', 'local']
    for v in range(2):
        for b in range(3):
            for name in ('images', 'boxes', 'flips', 'masks'):
                assert torch.equal(getattr(batch['global'], name)[v, b], getattr(samples[b]['global'], name)[v])
    assert batch['local'].images.shape == (1, 3, 3, 4, 4) and batch['local'].mask_index is None


def test_mask_index_and_weight_follow_the_definition():
    group = Views.collate([sample(index) for index in range(3)])['global']
    index, weight, position = [], [], 0
    for view in group.masks.tolist():
        for mask in view:
            entries = [entry for row in mask for entry in row]
            for entry in entries:
                if entry:
                    index.append(position)
                    weight.append(1 / sum(entries))
                position += 1
    assert group.mask_index.tolist() == index
    assert group.mask_weight.tolist() == pytest.approx(weight)
    assert not group.masks[0, 1].any()


def test_every_tensor_moves():
    batch = Views.collate([sample(index) for index in range(3)])
    moved = batch.to('meta')
    tensors = [getattr(moved[name], key) for name in moved for key in vars(moved[name])]
    assert {tensor.device.type for tensor in [*tensors, moved.indices] if tensor is not None} == {'meta'}
    assert sum(tensor is None for tensor in tensors) == 7 and moved.skipped == batch.skipped
    assert batch['global'].images.device.type == 'cpu'


def test_labels_are_collated_and_move_where_there_are_some():
    samples = [sample(index) for index in range(3)]
    assert Views.collate(samples).labels is None
    for index, one in enumerate(samples):
        one.labels = torch.tensor(7 - index)
    batch = Views.collate(samples)
    assert batch.labels.tolist() == [7, 6, 5]
    assert batch.to('meta').labels.device.type == 'meta'
    assert replace(batch, groups={}).labels is batch.labels


def test_pinning_reaches_every_tensor(monkeypatch):
    from torch.utils.data._utils.pin_memory import pin_memory

    pinned = []
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: pinned.append(tensor) or tensor)
    batch = pin_memory(Views.collate([sample(0), sample(1)]))
    assert isinstance(batch, Views) and len(pinned) == 6 + 3 + 1
    assert not isinstance(batch, Mapping), 'older versions of PyTorch would pin it into a dict'
