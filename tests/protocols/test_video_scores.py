from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter
from scipy.spatial.distance import cdist

from mmdssl.errors import InputError
from mmdssl.protocols.video_scores import (
    SequenceScores,
    boundary,
    contour_accuracy,
    copy_first,
    overall_scores,
    region_similarity,
    score_rows,
    score_sequence,
    score_table,
    statistics,
)


def edge_pixels(mask):
    """Pixels, by loops, that are inside while one to the right, below or both is outside, or the other way round."""
    height, width = mask.shape
    return [(y, x) for y in range(height) for x in range(width)
            if any(mask[y, x] != mask[y + dy, x + dx]
                   for dy, dx in ((0, 1), (1, 0), (1, 1)) if y + dy < height and x + dx < width)]


def brute_force(predicted, truth):
    """J from a table of counts, F from the distances between all boundary pixels."""
    counts = np.bincount((2 * predicted.astype(int) + truth).ravel(), minlength=4)
    j = counts[3] / counts[1:].sum() if counts[1:].any() else 1.
    # the windows of 2 x 2 pixels that are not all the same
    ours, theirs = (np.argwhere(maximum_filter(mask, 2, origin=-1, mode='nearest') != minimum_filter(
        mask, 2, origin=-1, mode='nearest')) for mask in (predicted, truth))
    if not len(ours) or not len(theirs):
        return j, float(len(ours) == len(theirs))
    reach = np.ceil(0.008 * np.sqrt(np.sum(np.square(truth.shape))))
    near = cdist(ours, theirs) <= reach
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return j, 0. if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def blob(rng, shape=(90, 150)):
    return gaussian_filter(rng.standard_normal(shape), 6) > 0.02


def both(predicted, truth):
    return region_similarity(predicted, truth), contour_accuracy(predicted, truth)


def test_equals_brute_force_on_random_blobs():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(10):
        predicted, truth = blob(rng), blob(rng)
        assert np.argwhere(boundary(truth)).tolist() == [list(pixel) for pixel in edge_pixels(truth)]
        scores.append(both(predicted, truth))
        assert scores[-1] == pytest.approx(brute_force(predicted, truth), abs=1e-12)
    assert np.ptp(scores, axis=0).min() > 0.05
    assert both(truth, truth) == (1., 1.)


def test_equals_brute_force_on_every_frame_of_a_real_sequence(real_data):
    """The first mask, moved down by 7 px, against each annotation."""
    files = sorted((real_data / 'davis-mini/Annotations/480p/car-shadow').glob('*.png'))
    truth = [np.array(Image.open(file)) for file in files]
    predicted = [np.roll(truth[0], 7, 0)] * (len(truth) - 2)
    scores = score_sequence('car-shadow', predicted, truth)
    expected = [brute_force(ids == 1, annotation == 1) for ids, annotation in zip(predicted, truth[1:-1])]
    assert np.allclose(np.stack([scores.j[0], scores.f[0]], 1), expected, rtol=0, atol=1e-12)
    assert len(expected) == 38 and np.ptp(expected, axis=0).min() > 0.1


def test_empty_masks():
    empty, full, some = np.zeros((3, 40, 60), bool)
    full[:], some[10:20, 10:20] = True, True
    assert both(empty, empty) == (1., 1.)
    assert both(some, empty) == both(empty, some) == (0., 0.)
    assert both(full, full) == (1., 1.)
    assert both(full, empty) == (0., 1.)  # neither has a boundary
    assert both(full, some) == pytest.approx((100 / 2400, 0.))
    assert both(some, np.roll(some, 30, 1)) == (0., 0.)  # boundaries that never meet


def video(*objects):
    """Ids ``(5, 40, 60)``: squares of 10 px, one for each object, in the frames in which it is there."""
    ids = np.zeros((5, 40, 60), np.uint8)
    for number, frames in enumerate(objects, 1):
        ids[list(frames), 5:15, 20 * number - 15:20 * number - 5] = number
    return ids


def test_an_object_that_vanishes():
    truth = video(range(5), range(2))
    right = score_sequence('a', truth[1:-1], truth)
    assert np.array_equal(right.j, np.ones((2, 3))) and np.array_equal(right.f, right.j)
    stays = score_sequence('a', video(range(5), range(5))[1:-1], truth)
    assert stays.j.tolist() == stays.f.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_fewer_objects_predicted_than_annotated_count_as_empty():
    scores = score_sequence('a', video(range(5))[1:-1], video(range(5), range(5)))
    assert scores.j.tolist() == scores.f.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert overall_scores([scores])['J&F'] == 50


def test_more_objects_predicted_than_annotated_are_an_error():
    with pytest.raises(InputError, match="'swan', frame 1: object 2 is predicted.* has 1"):
        score_sequence('swan', video(range(5), range(5))[1:-1], video(range(5)))


def test_objects_are_those_of_the_first_annotation_and_void_is_background():
    truth = video(range(5), [3])
    truth[2, 30:] = 255
    scores = score_sequence('a', video(range(5))[1:-1], truth)
    assert scores.j.tolist() == [[1, 1, 1]]
    truth[0] = np.where(truth[0] == 1, 255, 0)
    with pytest.raises(InputError, match="'a' has no object"):
        score_sequence('a', truth[1:-1], truth)


def test_ids_that_nothing_has_are_no_objects():
    """Their empty masks would be found exactly."""
    truth, found = video(range(5), range(5)), video(range(5))
    expected = score_sequence('a', found[1:-1], truth)
    truth[truth == 2] = 9
    scores = score_sequence('a', found[1:-1], truth)
    assert np.array_equal(scores.j, expected.j) and [*score_rows([scores], [scores])][:2] == ['a_1', 'a_9']


@pytest.mark.parametrize('predicted, truth, match', [
    (np.zeros((3, 20, 30), np.uint8), video(range(5)), r'frame 1: .*\(20, 30\), the annotation \(40, 60\)'),
    (video(range(5))[:0], video(range(5))[:2], 'has 2 frames'),
])
def test_what_cannot_be_scored_is_an_error(predicted, truth, match):
    with pytest.raises(InputError, match=match):
        score_sequence('a', predicted, truth)


def test_statistics_of_quarters_that_share_their_limits():
    values = np.random.default_rng(0).random(67)
    mean, recall, decay = statistics(values)
    assert mean == pytest.approx(sum(values) / 67) and recall == sum(value > 0.5 for value in values) / 67
    assert decay == pytest.approx(values[0:18].mean() - values[50:67].mean())
    assert statistics(np.array([0.5])) == (0.5, 0., 0.)


def test_long_sequences():
    """The official tool's limits overflow at 256 frames."""
    values = np.linspace(1, 0, 401)
    assert statistics(values)[2] == pytest.approx(values[0:101].mean() - values[300:401].mean())


def test_overall_is_the_mean_over_objects_not_over_sequences():
    three, one = (SequenceScores(name, np.full((objects, 8), j), np.full((objects, 8), f))
                  for name, objects, j, f in (('three', 3, 0.4, 0.6), ('one', 1, 0.8, 1.)))
    assert overall_scores([three, one]) == pytest.approx(
        {'J&F': 60, 'J_mean': 50, 'J_recall': 25, 'J_decay': 0, 'F_mean': 70, 'F_recall': 100, 'F_decay': 0})


def test_copied_first_masks_are_a_prediction_of_them_without_void():
    truth = [np.zeros((20, 30), np.uint8) for _ in range(5)]
    for t, mask in enumerate(truth):
        mask[4:12, 3 + t:12 + t] = 1
    truth[0][0] = 255
    still = truth[0] * (truth[0] != 255)
    found, expected = copy_first('swan', truth), score_sequence('swan', [still] * 3, truth)
    assert np.array_equal(found.j, expected.j) and np.array_equal(found.f, expected.f)
    assert found.j[0] == pytest.approx([(9 - t) / (9 + t) for t in (1, 2, 3)])


def test_table_has_a_row_for_each_object():
    console = Console(width=100, record=True)
    scores = [SequenceScores('swan', np.array([[0.25] * 4, [0.75] * 4]), np.full((2, 4), 0.5))]
    console.print(score_table(score_rows(scores, scores), 'DAVIS'))
    text = console.export_text()
    assert all(name in text for name in ('swan_1', 'swan_2', 'all objects'))
    assert next(line for line in text.splitlines() if 'swan_2' in line).replace('│', ' ').split() == [
        'swan_2', '62.5', '75.0', '100.0', '0.0', '50.0', '0.0', '0.0']
