from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_patches import FakePatches, random_masks
from mmengine.config import Config
from mmengine.dist import get_rank
from processes import run_ranks

from mmdssl.errors import InputError
from mmdssl.protocols.overclustering import OverclusteringMetric, _Shares
from mmdssl.registry import METRICS

CONFIGS = Path(__file__).parents[2] / 'configs/dense'
CLASSES, SIZE, PATCH = 3, 24, 4


def patches(number=12, spread=0.02, parts=1):
    """Masks of whole patches; those of a class look like one of some random vectors of it."""
    coarse = random_masks(number, SIZE // PATCH, CLASSES)
    masks = coarse.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    classes = coarse.flatten(1).long()
    classes[classes > 2] = 0
    looks = torch.randn(CLASSES, parts, 10)[classes, torch.randint(0, parts, classes.shape)]
    return FakePatches(looks + spread * torch.randn_like(looks), masks, coarse.shape[1:], CLASSES)


def test_perfect_features_are_perfect():
    metric = OverclusteringMetric(('classes', 12, 3), seeds=(0, 1), size=SIZE, components=5, iterations=20, restarts=20)
    assert metric(None, patches()) == pytest.approx(dict(mIoU_k3=100, mIoU_k12=100))


def test_parts_of_classes_need_more_clusters_than_classes():
    found = OverclusteringMetric((12, 'classes'), seeds=(0, ), size=SIZE, iterations=30, restarts=30)(None, patches(20, parts=3))
    assert found['mIoU_k12'] > 95 > 80 > found['mIoU_k3']


def test_shuffled_and_constant_features_give_the_most_frequent_class():
    for queries in (patches(40, spread=1000.), patches(40)):
        if queries.values.std() < 100:
            queries.values = torch.ones_like(queries.values)
        found = OverclusteringMetric((5, 20), seeds=(0, ), size=SIZE, iterations=5, restarts=1)(None, queries)
        pixels = torch.tensor([(queries.masks == number).sum() for number in range(CLASSES)])
        assert found['mIoU_k5'] == pytest.approx(100 * (pixels.max() / pixels.sum()).item() / CLASSES, abs=1.5)
        assert found['mIoU_k20'] < found['mIoU_k5'] + 10


@pytest.mark.parametrize('k', [3, 6])
def test_it_is_scikit_learn_where_all_starts_end_alike(k):
    """Standardised, in principal components, clustered, upsampled and matched."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    queries = patches(10, spread=0.3, parts=k // 3)
    queries.values = queries.values * torch.rand(10) * 9 + 4
    points = PCA(4).fit_transform(StandardScaler().fit_transform(queries.values.flatten(0, 1).double()))
    clusters = KMeans(k, n_init=20, random_state=0).fit_predict(points)
    maps = F.interpolate(torch.from_numpy(clusters).view(10, 1, 6, 6).float(), (10, 10), mode='nearest')[:, 0].numpy()
    masks = F.interpolate(queries.masks[:, None].float(), (10, 10), mode='nearest')[:, 0].numpy()
    maps, masks = maps[masks < 255].astype(int), masks[masks < 255].astype(int)
    overlap = np.array([[np.sum((maps == c) & (masks == n)) for n in range(3)] for c in range(k)])
    union = np.array([[np.sum((maps == c) | (masks == n)) for n in range(3)] for c in range(k)])
    if k > 3:
        own = overlap.argmax(1)
    else:
        own = np.zeros(k, int)
        rows, columns = linear_sum_assignment(-overlap / union)
        own[rows] = columns
    predicted = own[maps]
    wanted = np.mean([np.sum((predicted == n) & (masks == n)) / np.sum((predicted == n) | (masks == n)) for n in range(3)])
    found = OverclusteringMetric((k, ), seeds=(0, ), components=4, size=10, restarts=20)(None, queries)
    assert found[f'mIoU_k{k}'] == pytest.approx(100 * wanted)


def test_more_clusters_than_patches():
    with pytest.raises(InputError, match='of the 36 patches'):
        OverclusteringMetric((37, ))(None, patches(1))


def test_masks_without_a_counted_pixel():
    void = patches(4)
    void.masks[:] = 255
    with pytest.raises(InputError, match='no pixel of the masks of .* has a class'):
        OverclusteringMetric((3, ), seeds=(0, ))(None, void)


def check_shares(whole, numbers, points):
    torch.distributed.init_process_group('gloo')
    found = _Shares(whole, 5, 10)
    assert len(found.points) < found.total == len(points)
    own = found.gather(numbers)
    torch.testing.assert_close(own * (own[:1] / points[numbers][:1]).sign(), points[numbers], rtol=1e-4, atol=1e-4)


def test_two_processes_gather_the_points_of_one():
    queries = patches(7)
    one = _Shares(queries, 5, 10)
    points = one.gather(torch.arange(one.total))
    assert torch.equal(points, one.points)
    run_ranks(check_shares, 2, queries, torch.tensor([3, 40, 41, 200, 251]), points)


def save_metrics(path):
    if 'RANK' in os.environ:
        torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    metric = OverclusteringMetric(('classes', 7), seeds=(0, 1), iterations=10, restarts=3)
    (path / str(get_rank())).write_text(json.dumps(metric(None, patches(7, parts=2))))


def test_two_processes_give_the_scores_of_one(tmp_path):
    save_metrics(tmp_path)
    one = json.loads((tmp_path / '0').read_text())
    run_ranks(save_metrics, 2, tmp_path)
    for rank in '01':
        assert json.loads((tmp_path / rank).read_text()) == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize('data', ['voc12', 'ade20k', 'cocothings', 'cocostuff'])
def test_configs_are_those_of_leopart_and_neco(data):
    cfg = Config.fromfile(CONFIGS / f'overclustering_{data}.py')
    metric = METRICS.build(cfg.test_evaluator)
    assert (metric.clusters, metric.seeds, metric.components, metric.size) == ((500, 300, 'classes'), (0, 1, 2, 3, 4), 50, 100)
    assert (metric.iterations, metric.restarts, metric.extractor.read) == (100, 5, 'patches')
    bank, queries = cfg.test_cfg.bank.dataset, cfg.test_dataloader.dataset
    assert queries.size == 448 and (bank.masks, bank.get('names')) == (queries.masks, queries.get('names'))  # nothing else is needed
