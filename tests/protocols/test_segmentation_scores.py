from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fake_patches import perfect_values, random_masks

from mmdssl.protocols.segmentation_scores import (
    class_counts,
    class_iou,
    confusion,
    hungarian_iou,
    match_by_precision,
    match_one_to_one,
    matched_iou,
    mean_iou,
    pixel_accuracy,
    shrink,
)


@pytest.mark.parametrize('num_classes', [4, 20])
def test_counts_and_scores_are_scikit_learns(num_classes):
    """Of tensors and of arrays."""
    from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
    found, masks = torch.randint(0, num_classes, (3, 20, 20)), random_masks(3, 20, num_classes)
    counted = masks != 255
    counts = confusion(found, masks, num_classes, num_classes)
    pair = masks[counted], found[counted]
    np.testing.assert_array_equal(counts.T, confusion_matrix(*pair))
    for same in (counts, counts.numpy()):
        np.testing.assert_allclose(class_iou(same)[0], jaccard_score(*pair, average=None))
        assert mean_iou(same) == pytest.approx(100 * jaccard_score(*pair, average='macro'))
        assert pixel_accuracy(same) == pytest.approx(100 * accuracy_score(*pair))


def test_classes_that_are_nowhere_do_not_count():
    counts = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    for same in (counts, counts.numpy()):
        assert mean_iou(same) == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)
        assert class_iou(same)[0].tolist() == [3 / 4, 4 / 5, 0] and class_iou(same)[1].tolist() == [True, True, False]


def test_hungarian_iou_is_the_best_of_all_assignments():
    """With classes that are nowhere as 0."""
    rng = np.random.default_rng(0)
    for size in (2, 3, 5):
        counts = rng.integers(0, 30, (size, size))
        iou = counts / (counts.sum(1, keepdims=True) + counts.sum(0) - counts)
        best = max(sum(iou[row, column] for row, column in enumerate(columns)) for columns in itertools.permutations(range(size)))
        assert hungarian_iou(counts) == pytest.approx(100 * best / size)
    diagonal = np.diag([5, 0, 3])
    assert hungarian_iou(diagonal) == hungarian_iou(np.roll(diagonal, 1, 1)) == pytest.approx(200 / 3)
    assert mean_iou(diagonal) == 100 and mean_iou(np.roll(diagonal, 1, 1)) == 0


def test_masks_are_shrunk_to_the_nearest_pixel():
    masks = torch.randint(0, 256, (2, 448, 448), dtype=torch.uint8)
    places = torch.arange(100) * 448 // 100
    assert torch.equal(shrink(masks, 100), masks[:, places][:, :, places].long())


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
    torch.testing.assert_close(class_counts(masks, (3, 3), 3), (16 * perfect_values(masks, 4, 3)).int())
