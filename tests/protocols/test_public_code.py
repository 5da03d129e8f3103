"""k-NN and mask propagation against DINO's public code."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import Golden

from mmdssl.protocols.features import Features
from mmdssl.protocols.knn import KNNMetric
from mmdssl.protocols.propagation import masks_of_labels, propagate

DAVIS, KNN = Golden('davis_propagation'), Golden('knn')


@pytest.mark.parametrize('k', [int(k) for k in KNN.config['accuracy']])
def test_accuracies_are_the_authors(k):
    expected = KNN.config['accuracy'][str(k)]
    classes = [str(i) for i in range(KNN.config['num_classes'])]
    bank, queries = (Features(KNN[part], KNN[labels], classes, [''] * len(KNN[part]))
                     for part, labels in (('bank', 'bank_labels'), ('queries', 'query_labels')))
    metrics = KNNMetric(k=k, temperature=KNN.config['temperature'])(bank, queries)
    assert metrics[f'knn{k}_top1'] == pytest.approx(expected['top1'], abs=0.5)
    if k >= 5 and not expected['queries_with_fewer_than_5_classes']:  # elsewhere theirs counts classes without a vote
        assert metrics[f'knn{k}_top5'] == pytest.approx(expected['top5'], abs=0.5)


@pytest.mark.parametrize('name', DAVIS.config['sets'])
def test_labels_and_masks_are_the_authors(name):
    options = {key: value for key, value in DAVIS.config['sets'][name].items() if key != 'float32_error'}
    labels = propagate(F.normalize(DAVIS['features'], dim=1), DAVIS['first'], **options)
    torch.testing.assert_close(labels, DAVIS[f'{name}.labels'], rtol=0, atol=1e-5)
    masks = masks_of_labels(labels, DAVIS.config['size'], DAVIS.config['original'])[1:]
    assert np.mean(masks == DAVIS[f'{name}.masks'].numpy()) > 0.999
