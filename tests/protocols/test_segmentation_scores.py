from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fake_patches import perfect_values, random_masks

from mmdssl.protocols.segmentation_scores import (
    class_counts,
    confusion,
    match_by_precision,
    match_one_to_one,
    matched_iou,
    mean_iou,
)


def test_counts_and_mean_iou_are_scikit_learns():
    from sklearn.metrics import confusion_matrix, jaccard_score
    found, masks = torch.randint(0, 4, (3, 20, 20)), random_masks(3, 20, 4)
    counted = masks != 255
    counts = confusion(found, masks, 4, 4)
    np.testing.assert_array_equal(counts.T, confusion_matrix(masks[counted], found[counted]))
    assert mean_iou(counts) == pytest.approx(100 * jaccard_score(masks[counted], found[counted], average='macro'))


def test_classes_that_are_nowhere_do_not_count():
    assert mean_iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])) == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)


@pytest.mark.parametrize('shape', [(4, 4), (3, 4)])
def test_one_to_one_matches_are_the_best_of_all(shape):
    counts = np.random.default_rng(0).integers(0, 30, shape)
    iou = [[counts[k, c] / (counts[k].sum() + counts[:, c].sum() - counts[k, c]) for c in range(4)] for k in range(shape[0])]
    wanted = max(sum(iou[k][c] for k, c in enumerate(classes)) / 4 for classes in itertools.permutations(range(4), shape[0]))
    assert matched_iou(counts, match_one_to_one(counts)) == pytest.approx(100 * wanted)


def test_clusters_by_precision_are_put_together():
    counts = np.array([[8, 1, 0], [3, 2, 0], [0, 5, 0], [4, 6, 0]])  # the third class does not occur
    assert match_by_precision(counts).tolist() == [0, 0, 1, 1]
    assert matched_iou(counts, match_by_precision(counts)) == pytest.approx(100 * (11 / (15 + 3) + 11 / (14 + 4)) / 2)


def test_counts_of_patches_are_those_of_a_loop():
    masks = random_masks(2, 12, 3)
    torch.testing.assert_close(class_counts(masks, (3, 3), 3), 16 * perfect_values(masks, 4, 3))
