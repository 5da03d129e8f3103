from __future__ import annotations

import itertools
import json
import os
from math import comb, log

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from PIL import Image
from processes import run_ranks

from mmdssl.errors import InputError
from mmdssl.protocols.clustering import ClusteringMetric, cluster_scores, draw_classes, hungarian_accuracy
from mmdssl.protocols.features import Features


def features(num_classes=5, per_class=12, spread=0.5):
    centres = torch.randn(num_classes, 16)
    labels = torch.arange(num_classes).repeat(per_class)
    values = (centres[labels] + spread * torch.randn(len(labels), 16)) * (torch.rand(len(labels), 1) + 0.5)  # lengths tell nothing
    return Features(values, labels, [str(i) for i in range(num_classes)], [''] * len(labels))


def test_scores_equal_their_definitions():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(4, size=50), rng.integers(3, size=50)
    clusters[:30] = labels[:30] % 3
    table = np.array([[np.sum((clusters == c) & (labels == k)) for k in range(4)] for c in range(3)])
    rows, columns, n = table.sum(1), table.sum(0), 50

    def entropy(counts):
        return -sum(count / n * log(count / n) for count in counts if count)
    mutual = entropy(rows) + entropy(columns) - entropy(table.ravel())
    pairs, expected = sum(comb(t, 2) for t in table.ravel()), sum(comb(r, 2) for r in rows) * sum(comb(c, 2) for c in columns) / comb(n, 2)
    largest = (sum(comb(r, 2) for r in rows) + sum(comb(c, 2) for c in columns)) / 2
    best = max(sum(table[c, k] for c, k in enumerate(chosen)) for chosen in itertools.permutations(range(4), 3))
    assert cluster_scores(clusters, labels) == pytest.approx((
        200 * mutual / (entropy(rows) + entropy(columns)), 100 * (pairs - expected) / (largest - expected), 100 * best / n))


def test_names_of_clusters_do_not_matter():
    labels = np.array([3, 3, 8, 8, 8])
    assert cluster_scores(np.array([7, 7, 1, 1, 1]), labels) == pytest.approx((100, 100, 100))
    assert hungarian_accuracy(np.zeros(5), labels) == pytest.approx(0.6)


def test_draws_are_k_different_classes_and_always_the_same():
    drawn = draw_classes(20, 6, 10)
    assert all(len(set(classes.tolist())) == 6 and classes.max() < 20 for classes in drawn)
    assert len({tuple(classes) for classes in drawn}) == 10
    assert all(map(np.array_equal, drawn, draw_classes(20, 6, 10)))


def test_the_metric_is_the_mean_over_draws_on_the_unit_sphere():
    from sklearn.cluster import KMeans
    queries = features()
    found = ClusteringMetric(k=(2, 3), draws=4, n_init=3, seed=5)(None, queries)
    values = (queries.values / queries.values.norm(dim=1, keepdim=True)).numpy()
    for k in (2, 3):
        wanted = []
        for draw, classes in enumerate(draw_classes(5, k, 4, seed=5)):
            members = [i for i, label in enumerate(queries.labels.tolist()) if label in classes]
            clusters = KMeans(k, n_init=3, random_state=5 + draw).fit(values[members]).labels_
            wanted.append(cluster_scores(clusters, queries.labels.numpy()[members]))
        assert [found[f'{name}{k}'] for name in ('nmi', 'ari', 'accuracy')] == pytest.approx(np.mean(wanted, 0).tolist())


def test_distinct_classes_are_found_and_numbers_of_classes_are_capped():
    found = ClusteringMetric(k=(3, 50, 100), draws=2)(None, features(spread=0.01))
    assert found == pytest.approx({f'{name}{k}': 100 for k in (3, 5) for name in ('nmi', 'ari', 'accuracy')})


def test_one_class_cannot_be_clustered():
    with pytest.raises(InputError, match='needs images of 2 classes'):
        ClusteringMetric()(None, features(num_classes=1))


def save_scores(path):
    if 'RANK' in os.environ:
        torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    (path / str(get_rank())).write_text(json.dumps(ClusteringMetric(k=(3, ), draws=3, n_init=2)(None, features())))


def test_two_processes_give_the_scores_of_one(tmp_path):
    save_scores(tmp_path)
    one = (tmp_path / '0').read_text()
    run_ranks(save_scores, 2, tmp_path)
    assert [(tmp_path / name).read_text() for name in '01'] == [one, one]


def test_clustering_from_the_command_line_reads_the_queries_alone(tmp_path, evaluated):
    rng = np.random.default_rng(0)
    for part, each in (('train', 2), ('val', 5)):
        for i, name in enumerate('abc'):
            (tmp_path / f'data/{part}/{name}').mkdir(parents=True)
            for n in range(each):
                pixels = rng.integers(0, 60, (36, 36, 3)) + np.eye(3)[i] * 150
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f'data/{part}/{name}/{n}.png')
    found = evaluated('configs/classification/clustering.py', tmp_path / 'data', f'test_cfg.cache={tmp_path}/cache',
                      'test_cfg.bank.num_workers=0')
    assert found == pytest.approx(dict(nmi3=100, ari3=100, accuracy3=100))
    assert len(list((tmp_path / 'cache').glob('*.safetensors'))) == 1
