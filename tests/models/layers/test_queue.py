from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dist import get_dist_info
from processes import run_ranks

from mmdssl.errors import InputError
from mmdssl.models.layers.queue import FeatureQueue


def rows(*values: int) -> torch.Tensor:
    return torch.tensor([[float(value)] for value in values])


def test_the_newest_take_the_place_of_the_oldest():
    queue = FeatureQueue(5, 1)
    assert not queue.full and queue.features.abs().eq(1).all()
    queue.push(rows(1, 2, 3))
    assert not queue.full and queue.features[:3].flatten().tolist() == [1, 2, 3]
    queue.push(rows(4, 5, 6))
    assert queue.full and queue.features.flatten().tolist() == [6, 2, 3, 4, 5]
    queue.push(rows(7, 8))
    assert queue.features.flatten().tolist() == [6, 7, 8, 4, 5]


def test_kinds_are_kept_apart():
    queue = FeatureQueue(2, 1, number=2)
    queue.push(torch.stack([rows(1, 2), rows(3, 4)]))
    assert queue.features.flatten(1).tolist() == [[1, 2], [3, 4]]


def test_a_checkpoint_has_the_queue_and_its_place():
    queue, resumed = FeatureQueue(4, 1), FeatureQueue(4, 1)
    queue.push(rows(1, 2, 3))
    resumed.load_state_dict(queue.state_dict())
    for each in (queue, resumed):
        each.push(rows(4, 5, 6))
    assert torch.equal(queue.features, resumed.features) and resumed.full


def test_more_than_it_holds_is_an_input_error():
    with pytest.raises(InputError, match='a queue of 2 features cannot hold the 3 of one step'):
        FeatureQueue(2, 1).push(rows(1, 2, 3))


def push_as_rank(folder: Path) -> None:
    torch.distributed.init_process_group('gloo')
    rank, _ = get_dist_info()
    queue = FeatureQueue(4, 1)
    queue.push(rows(10 * rank, 10 * rank + 1))
    torch.save(queue.features, folder / str(rank))
    torch.distributed.destroy_process_group()


def test_every_process_has_those_of_all(tmp_path):
    run_ranks(push_as_rank, 2, tmp_path)
    assert [torch.load(tmp_path / str(rank)).flatten().tolist() for rank in range(2)] == [[0, 1, 10, 11]] * 2
