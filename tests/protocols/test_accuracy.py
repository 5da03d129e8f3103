from __future__ import annotations

import numpy as np
import torch

from mmdssl.protocols import AccuracyMetric
from mmdssl.protocols.accuracy import mean_accuracy, rank_of_label


def test_ranks_are_those_of_a_stable_sort():
    scores, labels = torch.randint(0, 4, (40, 3, 7)).float(), torch.randint(0, 7, (40, ))
    order = np.argsort(-scores.numpy(), axis=-1, kind='stable')
    expected = (order == labels.numpy()[:, None, None]).argmax(-1)
    assert rank_of_label(scores, labels).tolist() == expected.tolist()


def test_a_classifier_that_diverged_is_not_correct():
    scores = torch.tensor([[[0., torch.nan, 1.], [torch.nan, 2., torch.nan]]])
    assert rank_of_label(scores, torch.tensor([1])).tolist() == [[2, 0]]
    assert rank_of_label(scores, torch.tensor([2])).tolist() == [[0, 2]]


def test_means_over_images_and_over_classes_by_hand():
    ranks, labels = torch.tensor([[0, 4], [1, 5], [0, 0], [6, 0]]), torch.tensor([0, 0, 0, 2])
    found = mean_accuracy(ranks, labels, num_classes=8)
    assert found['top1'] == [50., 50.] and found['top5'] == [75., 75.]
    np.testing.assert_allclose(found['class_top1'], [100 / 3, 200 / 3])  # class 1 has no image
    assert 'top5' not in mean_accuracy(ranks, labels, num_classes=4)
    assert set(AccuracyMetric()(ranks, labels, 8)) == {'top1', 'top5'}
    assert set(AccuracyMetric(by_class=True)(ranks, labels, 8)) == {'top1', 'top5', 'class_top1'}
