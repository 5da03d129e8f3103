from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch
from golden_files import Golden
from torch.nn.functional import normalize

from mmdssl.protocols.features import Features
from mmdssl.protocols.knn import NO_CLASS, KNNMetric, knn_classify, nearest


def slow(bank, labels, query, k, temperature):
    """Classes in the order of their votes, in float64 and one image at a time."""
    similar = sorted(((sum(a * b for a, b in zip(query.tolist(), item.tolist())), label)
                      for item, label in zip(bank.double(), labels.tolist())), reverse=True)
    votes = defaultdict(float)
    for similarity, label in similar[:k]:
        votes[label] += math.exp(similarity / temperature)
    return sorted(votes, key=votes.get, reverse=True)


@pytest.fixture
def data():
    return (normalize(torch.randn(40, 6), dim=1), torch.randint(0, 7, (40, )), normalize(torch.randn(9, 6), dim=1),
            torch.randint(0, 7, (9, )))


@pytest.mark.parametrize('temperature', [0.07, 1.])
@pytest.mark.parametrize('chunk, bank_chunk', [(2, 1000), (256, 7), (4, 1), (256, 39)])
def test_equals_a_slow_loop(data, temperature, chunk, bank_chunk):
    bank, labels, queries, _ = data
    lengths = torch.rand(40, 1) + 0.5  # which the cosine does not see
    ranking = knn_classify(lengths * bank, labels, queries, 7, (1, 5, 20, 1000), temperature, chunk=chunk, bank_chunk=bank_chunk)
    for k, found in ranking.items():
        for row, query in zip(found.tolist(), queries.double()):
            expected = slow(bank, labels, query, k, temperature)[:5]
            assert row == expected + [NO_CLASS] * (5 - len(expected))


def test_closer_neighbours_outvote_more_neighbours():
    bank = normalize(torch.tensor([[1., 0.], [0.6, 0.8], [0.6, 0.8]]), dim=1)
    ranking = knn_classify(bank, torch.tensor([0, 1, 1]), torch.tensor([[1., 0.]]), 2, (3, ), temperature=0.07)
    assert ranking[3].tolist() == [[0, 1]]


def test_metric_counts_hits_in_percent(data):
    bank, labels, queries, truth = data
    classes = list('abcdefg')
    metrics = KNNMetric(k=(3, 10), temperature=0.07)(Features(bank, labels, classes, []), Features(queries, truth, classes, []))
    assert set(metrics) == {'knn3_top1', 'knn10_top1', 'knn10_top5'}  # three neighbours have no five best classes
    for k, top in ((3, 1), (10, 1), (10, 5)):
        hits = sum(t in slow(bank, labels, q, k, 0.07)[:top] for q, t in zip(queries.double(), truth.tolist()))
        assert metrics[f'knn{k}_top{top}'] == pytest.approx(100 * hits / 9)


def test_a_bank_in_a_file_that_is_mapped_into_memory(data, tmp_path):
    bank, _, queries, _ = data
    bank.numpy().tofile(tmp_path / 'bank')
    mapped = torch.from_file(str(tmp_path / 'bank'), size=bank.numel()).view(bank.shape)
    for found, wanted in zip(nearest(mapped, queries, 5, bank_chunk=9), (bank @ queries.T).T.topk(5)):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('bank_chunk', [64, 1000])
def test_accuracies_are_those_of_the_public_code(bank_chunk):
    golden = Golden('knn')
    config = golden.config
    found = knn_classify(golden['bank'], golden['bank_labels'], golden['queries'], config['num_classes'],
                         [int(k) for k in config['accuracy']], config['temperature'], bank_chunk=bank_chunk)
    for k, wanted in config['accuracy'].items():
        hits = found[int(k)] == golden['query_labels'][:, None]
        assert 100 * hits[:, 0].double().mean() == pytest.approx(wanted['top1'])
        if not wanted['queries_with_fewer_than_5_classes']:
            assert 100 * hits.any(1).double().mean() == pytest.approx(wanted['top5'])
