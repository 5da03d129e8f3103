from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from processes import run_ranks
from torch.nn.functional import interpolate, one_hot

from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.errors import InputError
from mmdssl.protocols.dense_knn import HummingbirdMetric, choose_patches, pixel_counts
from mmdssl.protocols.knn import largest, nearest
from mmdssl.protocols.patches import PatchBatch

ROOT = Path(__file__).parents[2]
CLASSES, VOID = 4, 255


class Given:
    """What PatchFeatures gives, of images ``(n, N, D)`` and masks ``(n, S, S)``."""
    device = torch.device('cpu')
    dataset = SimpleNamespace(data_root='data')

    def __init__(self, values, masks, grid=(3, 3), rank=0, processes=1):
        self.values, self.masks, self.grid = values, masks, grid
        self.mine = list(range(rank, len(values), processes))
        self.share, self.classes = len(self.mine), list('abcd')

    def __len__(self):
        return len(self.values)

    def warn_of_unreadable(self):
        """All can be read."""

    def __iter__(self):
        for start in range(0, len(self.mine), 2):
            index = torch.tensor(self.mine[start:start + 2])
            yield PatchBatch(index, self.values[index], self.masks[index], self.grid)


def blocks(n: int, seed: int, void: float = 0.1):
    """Masks of 12 px whose patches of 4 px are mostly of one class."""
    rng = np.random.default_rng(seed)
    masks = np.kron(rng.integers(0, CLASSES, (n, 3, 3)), np.ones((1, 4, 4))).astype(np.uint8)
    noise = rng.random(masks.shape)
    masks[noise < 0.2] = rng.integers(0, CLASSES, masks.shape)[noise < 0.2]
    masks[noise > 1 - void] = VOID
    return torch.from_numpy(masks)


def slow(bank, queries, k, temperature, void_class, rule):
    """Predictions ``(n, S, S)`` in float64, patch by patch."""
    keys, labels = [], []
    for values, mask in zip(bank.values.double(), bank.masks):
        for place, value in enumerate(values):
            row, column = 4 * (place // 3), 4 * (place % 3)
            pixels = mask[row:row + 4, column:column + 4].flatten().long()
            pixels[pixels == VOID] = void_class
            keys.append(value / value.norm())
            labels.append(one_hot(pixels, CLASSES + 1).double().mean(0))
    keys, labels = torch.stack(keys), torch.stack(labels)
    found = []
    for values, mask in zip(queries.values.double(), queries.masks):
        soft = []
        for value in values:
            cosines = keys @ (value / value.norm())
            order = cosines.argsort(descending=True)[:k]
            soft.append((cosines[order] / temperature).softmax(0) @ labels[order])
        soft = torch.stack(soft)
        if rule == 'clean':
            soft = soft[:, :CLASSES] / soft[:, :CLASSES].sum(1, keepdim=True)
        found.append(interpolate(soft.T.view(1, -1, 3, 3), mask.shape, mode='bilinear')[0].argmax(0))
    return torch.stack(found)


def ious(truth, predicted, numbers):
    counted = truth != VOID
    truth, predicted = truth[counted], predicted[counted]
    return np.array([[float(((truth == t) & (predicted == p)).sum() / max(1, ((truth == t) | (predicted == p)).sum())) for p in numbers]
                     for t in numbers])


def best_assignment(matrix):
    return 100 * max(np.mean([matrix[i, j] for i, j in enumerate(order)]) for order in permutations(range(len(matrix))))


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world') / 'sample'
    make_sample_world(root, train=10, val=10, size=16, coco=(0, 0), ade20k=(5, 3), clips=(0, 0), workers=1)
    return root / 'ade20k'


@pytest.fixture
def bank():
    return Given(torch.randn(7, 9, 5), blocks(7, 0))


@pytest.fixture
def queries():
    return Given(torch.randn(4, 9, 5), blocks(4, 1))


@pytest.mark.parametrize('void', ['first', 'own'])
@pytest.mark.parametrize('k', [1, 8, 100])
def test_equals_a_slow_search_in_float64(bank, queries, void, k):
    found = HummingbirdMetric(k=k, temperature=0.1, void=void)(bank, queries)
    numbers = range(CLASSES + (void == 'own'))
    predicted = slow(bank, queries, k, 0.1, 0 if void == 'first' else CLASSES, 'hbird')
    assert found['mIoU_hbird'] == pytest.approx(best_assignment(ious(queries.masks, predicted, numbers)))
    predicted = slow(bank, queries, k, 0.1, CLASSES, 'clean')
    assert found['mIoU_clean'] == pytest.approx(100 * ious(queries.masks, predicted, range(CLASSES)).diagonal().mean())
    counted = queries.masks != VOID
    assert found['accuracy_clean'] == pytest.approx(100 * (queries.masks == predicted)[counted].float().mean().item())


def test_perfect_features_are_right_shuffled_ones_by_chance_and_constant_ones_the_majority():
    pure = blocks(60, 0, void=0)[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2)
    perfect = one_hot(pure[:, ::4, ::4].flatten(1).long(), CLASSES).float()
    # of single patches, because between two classes interpolation is no perfect border
    single = [Given(values.flatten(0, 1)[:, None], masks.unfold(1, 4, 4).unfold(2, 4, 4).reshape(-1, 4, 4), (1, 1))
              for values, masks in ((perfect[:30], pure[:30]), (perfect[30:], pure[30:]))]
    assert set(HummingbirdMetric()(*single).values()) == {100.}
    shuffled = single[0].values[torch.randperm(len(single[0]))]
    chance = HummingbirdMetric(k=1)(Given(shuffled, single[0].masks, (1, 1)), single[1])
    assert abs(chance['accuracy_clean'] - 25) < 7 and chance['mIoU_clean'] < 25
    constant = HummingbirdMetric(k=1000)(*(Given(torch.ones_like(each.values), each.masks, (1, 1)) for each in single))
    majority = int(single[0].masks.flatten().bincount().argmax())
    share = 100 * (single[1].masks == majority).float().mean().item()
    assert constant == dict(mIoU_hbird=pytest.approx(share / 4), mIoU_clean=pytest.approx(share / 4),
                            accuracy_clean=pytest.approx(share))


def test_pixels_that_are_not_counted_are_of_the_first_class_of_the_memory_in_one_rule_alone():
    """A patch half void and half of class 1, as the bank's: hbird finds class 0 and 1 equally often, clean class 1."""
    mask = torch.full((1, 4, 4), 1, dtype=torch.uint8)
    mask[:, :, :2] = VOID
    mask[:, 0, 2] = VOID
    patch = Given(torch.ones(1, 1, 2), mask, (1, 1))
    assert HummingbirdMetric()(patch, patch) == dict(mIoU_hbird=25., mIoU_clean=100., accuracy_clean=100.)
    # the 7 pixels of class 1 are all taken for class 0: matched by Hungary they are right, one class of four is there
    own = HummingbirdMetric(void='own')(patch, patch)
    assert own == dict(mIoU_hbird=20., mIoU_clean=100., accuracy_clean=100.)
    # beside a patch of class 0 that is found as class 0, what hbird takes for class 0 is wrong
    both = Given(torch.eye(2)[:, None], torch.cat([torch.zeros_like(mask), mask]), (1, 1))
    found = HummingbirdMetric()(both, both)
    assert found['mIoU_hbird'] == pytest.approx(100 * (16 / 23) / 4) and found['mIoU_clean'] == 100


def test_counts_of_patches():
    masks = blocks(2, 3)
    counts = pixel_counts(masks, (3, 3), CLASSES)
    assert counts.dtype == torch.uint8
    for place in range(9):
        row, column = 4 * (place // 3), 4 * (place % 3)
        pixels = masks[1, row:row + 4, column:column + 4]
        assert counts[1, place].tolist() == [int((pixels == number).sum()) for number in (0, 1, 2, 3, VOID)]
    pure = torch.full((1, 16, 16), 2, dtype=torch.uint8)
    assert pixel_counts(pure, (1, 1), CLASSES).tolist() == [[[0, 0, 255, 0, 0]]]
    assert pixel_counts(pure.repeat(1, 2, 2), (1, 1), CLASSES).tolist() == [[[0, 0, 1024, 0, 0]]]


def test_rare_classes_are_preferred_in_a_small_memory():
    counts = pixel_counts(blocks(1, 5), (3, 3), CLASSES)[0]
    present = [{number for number in range(CLASSES + 1) if row[number]} for row in counts.tolist()]
    frequency = [sum(number in some for some in present) for number in range(CLASSES + 1)]
    drawn = np.random.default_rng((7, 3)).random(9, np.float32)
    scores = [sum(frequency[number] for number in some) * float(u) for some, u in zip(present, drawn)]
    assert choose_patches(counts, 4, (7, 3)).tolist() == np.argsort(scores)[:4].tolist()
    rare = torch.zeros(100, 2, dtype=torch.uint8)
    rare[:, 0] = 1
    rare[::20] = torch.tensor([0, 1])
    kept = [choose_patches(rare, 5, (seed, )) for seed in range(40)]
    assert sum((each % 20 == 0).sum().item() for each in kept) > 100, 'without preference 10 of 200'


@pytest.mark.parametrize('size, each', [(7, 1), (20, 2), (62, 8), (63, 9), (1000, 9), (None, 9)])
def test_the_memory_has_as_many_patches_of_each_image(bank, size, each):
    memory = HummingbirdMetric(memory_size=size).remember(bank)
    assert memory.keys.shape == (7 * each, 5) and memory.counts.sum(1).eq(16).all()
    torch.testing.assert_close(memory.keys.norm(dim=1), torch.ones(7 * each))


def test_more_neighbours_than_patches_are_all_of_them(bank, queries):
    assert HummingbirdMetric(k=10**6).remember(bank).k == 63
    assert HummingbirdMetric(k=10**6)(bank, queries) == HummingbirdMetric(k=63)(bank, queries)


def test_keys_in_half_precision(bank, queries):
    memory = HummingbirdMetric(precision='bf16', temperature=0.1).remember(bank)
    assert memory.keys.dtype == torch.bfloat16
    exact = HummingbirdMetric(temperature=0.1).remember(bank)
    torch.testing.assert_close(memory.soft_labels(queries.values[0]), exact.soft_labels(queries.values[0]), atol=0.02, rtol=0)


@pytest.mark.parametrize('columns', [50, 1000, 1037])
def test_the_largest_of_many(columns):
    values = torch.randn(3, columns)
    found, places = largest(values, 7, group=8)
    assert torch.equal(found, values.topk(7).values) and torch.equal(places, values.topk(7).indices)
    bank, queries = torch.randn(columns, 4), torch.randn(3, 4)
    assert torch.equal(nearest(bank, queries, 7, bank_chunk=300)[1], nearest(bank.double(), queries.double(), 7)[1])


def test_what_cannot_be_measured_is_said(bank, queries):
    with pytest.raises(InputError, match='room for memory_size=6 patches, and the bank has 7 images'):
        HummingbirdMetric(memory_size=6)(bank, queries)
    with pytest.raises(InputError, match="has read='class': set it to 'patches'"):
        HummingbirdMetric(extractor=dict(read='class'))
    for place in (0, 1):
        given = [bank, queries]
        given[place] = Given(given[place].values, torch.full_like(given[place].masks, VOID))
        with pytest.raises(InputError, match="no pixel of the masks of 'data' has a class"):
            HummingbirdMetric()(*given)


def test_a_backbone_from_the_command_line(evaluated, world):
    """The same metrics on two processes, and from features that were kept."""
    config, options = ROOT / 'configs/dense/small_hummingbird_world.py', ('test_cfg.bank.num_workers=0', 'test_dataloader.dataset.size=64',
                                                                         'test_cfg.bank.dataset.size=64')
    found = evaluated(config, world, *options)
    assert set(found) == {'mIoU_hbird', 'mIoU_clean', 'accuracy_clean'} and 0 < found['mIoU_clean'] < 100
    assert evaluated(config, world, *options, processes=2) == pytest.approx(found, abs=1e-3)


def as_rank(values, masks, folder):
    torch.distributed.init_process_group('gloo')
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = [HummingbirdMetric(memory_size=size, k=k, void='own')(
        *(Given(v[:n], m[:n], rank=rank, processes=processes) for v, m, n in zip(values, masks, (images, 3))))
        for size, k, images in ((30, 5, 7), (None, 100, 7), (None, 5, 1))]
    (folder / str(rank)).write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_processes_find_what_one_finds(bank, queries, tmp_path):
    values, masks = (bank.values, queries.values), (bank.masks, queries.masks)
    run_ranks(as_rank, 2, values, masks, tmp_path)
    for rank in range(2):
        found = json.loads((tmp_path / str(rank)).read_text())
        for (size, k, images), metrics in zip(((30, 5, 7), (None, 100, 7), (None, 5, 1)), found):
            one = HummingbirdMetric(memory_size=size, k=k, void='own')(
                Given(bank.values[:images], bank.masks[:images]), Given(queries.values[:3], queries.masks[:3]))
            assert metrics == pytest.approx(one)
