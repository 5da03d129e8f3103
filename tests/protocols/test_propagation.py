from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmdssl.protocols.propagation import masks_of_labels, propagate, tokens_of_mask


def by_loops(features, first, context_frames, radius, top_k, temperature, neighbourhood='square', first_everywhere=False,
             repeat_first=False, later=None):
    """Every token on its own, in plain Python."""
    frames, _, height, width = features.shape
    labels = [F.one_hot(first.long()).double() if first.dim() == 2 else first.permute(1, 2, 0)]
    later = later or {}

    def is_near(anchor, dy, dx):
        if radius is None or anchor and first_everywhere:
            return True
        return (math.sqrt(dy**2 + dx**2) if neighbourhood == 'circle' else max(abs(dy), abs(dx))) <= radius

    for t in range(1, frames):
        context = [(s, True) for s in [0, *later] if s < t]
        for s in range(t - context_frames, t):
            if s > 0 and s not in later:
                context.append((s, False))
            elif s <= 0 and repeat_first:
                context.append((0, False))
        labels.append(torch.zeros_like(labels[0]))
        cosines = {s: torch.einsum('dij,dpq->ijpq', features[t], features[s]).tolist() for s, _ in context}
        for i in range(height):
            for j in range(width):
                found = [(math.exp(cosines[s][i][j][p][q] / temperature), labels[s][p, q])
                         for s, anchor in context for p in range(height) for q in range(width) if is_near(anchor, p - i, q - j)]
                limit = sorted(affinity for affinity, _ in found)[-top_k:][0]
                kept = [(affinity, label) for affinity, label in found if affinity >= limit]
                labels[t][i, j] = sum(a * label for a, label in kept) / sum(a for a, _ in kept)
        if t in later:
            for i in range(height):
                for j in range(width):
                    new = later[t][:, i, j]
                    labels[t][i, j] = (1 - new.sum()) * labels[t][i, j] + new
    return torch.stack(labels).permute(0, 3, 1, 2)


def random_video(frames=4, dim=6, height=9, width=10):
    features = F.normalize(torch.randn(frames, dim, height, width, dtype=torch.float64), dim=1)
    return features, torch.randint(0, 4, (height, width))


@pytest.mark.parametrize('options', [
    dict(context_frames=7, radius=2, top_k=5, temperature=0.1),
    dict(context_frames=2, radius=3, top_k=1, temperature=0.1),
    dict(context_frames=1, radius=None, top_k=7, temperature=0.5),
    dict(context_frames=0, radius=1, top_k=20, temperature=0.05),  # 20 is more than a corner's neighbours
], ids=['defaults', 'nearest', 'everywhere', 'first frame'])
def test_equals_loops_over_tokens(options):
    features, first = random_video()
    ours = propagate(features, first, **options)
    assert torch.allclose(ours, by_loops(features, first, **options), rtol=0, atol=1e-12)
    assert torch.allclose(ours.sum(1), torch.ones(4, 9, 10, dtype=torch.float64))


def test_ids_are_maps_that_are_0_or_1():
    features, first = random_video()
    options = dict(context_frames=2, radius=2, top_k=3)
    maps = F.one_hot(first).permute(2, 0, 1)
    assert torch.equal(propagate(features, maps, **options), propagate(features, first, **options))


@pytest.mark.parametrize('options', [
    dict(context_frames=2, radius=3, top_k=5, temperature=0.1),
    dict(context_frames=2, radius=3, top_k=5, temperature=0.2, neighbourhood='circle'),
    dict(context_frames=1, radius=2.99, top_k=4, temperature=0.1, neighbourhood='circle', first_everywhere=True),
    dict(context_frames=3, radius=None, top_k=2, temperature=0.1, neighbourhood='circle'),
    dict(context_frames=5, radius=3.99, top_k=10, temperature=0.05, neighbourhood='circle', first_everywhere=True, repeat_first=True),
], ids=['square', 'dinov3', 'first everywhere', 'everywhere', 'crw'])
def test_soft_labels_equal_loops_over_tokens(options):
    """Maps that overlap, and do not sum to 1."""
    features, _ = random_video(height=6, width=9)
    first = torch.rand(3, 6, 9, dtype=torch.float64)
    first[2] = 0
    ours = propagate(features, first, **options)
    assert torch.allclose(ours, by_loops(features, first, **options), rtol=0, atol=1e-12)
    assert torch.equal(ours[0], first) and not ours[:, 2].any() and ours[:, :2].max() <= 1


@pytest.mark.parametrize('first_everywhere', [False, True])
def test_objects_that_appear_later_equal_loops_over_tokens(first_everywhere):
    features, first = random_video(frames=5, height=6, width=9)
    maps = F.one_hot(first, 6).permute(2, 0, 1).double()
    new = torch.zeros(6, 6, 9, dtype=torch.float64)
    new[4, 2:4, 3:7], new[5, 4:6, :4], new[5, 0, 0] = 1, 0.7, 0.4
    options = dict(context_frames=1, radius=2, top_k=5, temperature=0.1, first_everywhere=first_everywhere, later={2: new})
    ours = propagate(features, maps, **options)
    assert torch.allclose(ours, by_loops(features, maps, **options), rtol=0, atol=1e-12)
    assert not ours[:2, 4:].any() and (ours[2, 4, 2:4, 3:7] == 1).all() and ours[4, 4].any()
    assert torch.allclose(ours.sum(1), torch.ones(5, 6, 9, dtype=torch.float64))


@pytest.mark.parametrize('radius, reached', [(0, 1), (1, 5), (1.42, 9), (2, 13), (5, 81)])
def test_a_circle_reaches_the_cells_within_its_radius(radius, reached):
    """All features are equal, so a token takes the mean of all that it reaches: there are as many as Gauss's circle has points."""
    features = torch.ones(2, 1, 21, 30, dtype=torch.float64)
    first = torch.zeros(1, 21, 30, dtype=torch.float64)
    first[0, 9, 14] = 1
    carried = propagate(features, first, radius=radius, top_k=1, neighbourhood='circle')[1, 0]
    rows, columns = torch.meshgrid(torch.arange(21) - 9, torch.arange(30) - 14, indexing='ij')
    assert torch.equal(carried > 0, rows**2 + columns**2 <= radius**2)
    assert (carried > 0).sum() == reached and torch.allclose(carried[9, 14], torch.tensor(1 / reached, dtype=torch.float64))


def test_all_that_tie_with_the_last_of_the_best_count():
    """Features are one of three unit vectors, so most similarities are exactly 1 or 0."""
    _, first = random_video()
    features = F.one_hot(torch.randint(0, 3, (4, 9, 10)), 3).permute(0, 3, 1, 2).double()
    options = dict(context_frames=2, radius=2, top_k=3, temperature=0.1)
    ours = propagate(features, first, **options)
    assert torch.allclose(ours, by_loops(features, first, **options), rtol=0, atol=1e-12)


def test_labels_follow_moving_features():
    """A texture that moves a column per frame takes its labels along, as far as the radius allows."""
    texture = F.normalize(torch.randn(8, 6, 20), dim=0)
    features = torch.stack([texture[..., 5 - t:15 - t] for t in range(5)])
    first = torch.zeros(6, 10, dtype=torch.int64)
    first[2:4, 1:4] = 1
    moved = propagate(features, first, context_frames=1, radius=1, top_k=1)
    assert torch.equal(moved[4].argmax(0)[:, 4:], first[:, :6])
    assert propagate(features, first, context_frames=0, radius=3, top_k=1)[4].argmax(0)[2:4, 5:8].float().mean() < 1


def test_small_temperatures_do_not_overflow():
    features, first = random_video()
    labels = propagate(features.float(), first, radius=2, temperature=0.001)
    assert labels.isfinite().all()


def test_masks_are_the_stretched_maps_highest_ids():
    """Bilinear by the formula, stretch, argmax and nearest neighbour, pixel by pixel."""
    labels = torch.rand(3, 3, 2, 3, dtype=torch.float64)
    labels[0, 2] = 0.  # an object that is lost
    labels[1, 0] = 0.4  # the same everywhere: not stretched
    size, original = (8, 12), (11, 13)

    def at(array, y, x):
        (y0, fy), (x0, fx) = (divmod(min(max((c + 0.5) / 4 - 0.5, 0), n - 1), 1) for c, n in ((y, 2), (x, 3)))
        y0, x0, y1, x1 = int(y0), int(x0), min(int(y0) + 1, 1), min(int(x0) + 1, 2)
        return ((1 - fy) * ((1 - fx) * array[y0, x0] + fx * array[y0, x1])
                + fy * ((1 - fx) * array[y1, x0] + fx * array[y1, x1]))

    expected = np.empty((3, *original), np.uint8)
    for t, maps in enumerate(labels.numpy()):
        maps = np.array([[[at(channel, y, x) for x in range(12)] for y in range(8)] for channel in maps])
        for channel in maps:
            if np.ptp(channel) > 1e-9:
                channel[:] = (channel - channel.min()) / np.ptp(channel)
        ids = maps.argmax(0)
        for y in range(11):
            for x in range(13):
                expected[t, y, x] = ids[int((y + 0.5) * 8 / 11), int((x + 0.5) * 12 / 13)]
    assert np.array_equal(masks_of_labels(labels, size, original), expected)
    assert len(np.unique(expected)) == 3


def test_where_all_objects_are_lost_the_mask_is_background():
    labels = torch.zeros(1, 3, 4, 4)
    labels[:, 0] = 1.
    assert not masks_of_labels(labels, (16, 16), (20, 20)).any()


def test_first_mask_by_nearest_neighbour():
    mask = np.zeros((8, 12), np.uint8)
    mask[:4, :4], mask[4:, 8:], mask[:4, 8:] = 1, 2, 255
    assert tokens_of_mask(mask, (2, 3)).tolist() == [[1, 0, 0], [0, 0, 2]]


def test_an_object_lost_by_downsampling_disappears_and_ids_keep_their_place():
    mask = np.zeros((16, 16), np.uint8)
    mask[8:, :8], mask[0, 0] = 3, 1
    features = F.normalize(torch.randn(3, 4, 2, 2), dim=1)
    labels = propagate(features, tokens_of_mask(mask, (2, 2)), radius=1)
    assert labels.shape == (3, 4, 2, 2) and not labels[:, 1:3].any()
    masks = masks_of_labels(labels, (16, 16), (16, 16))
    assert set(np.unique(masks)) == {0, 3}
    mask[0, 0] = 5  # as the largest id it takes its channels along
    assert propagate(features, tokens_of_mask(mask, (2, 2)), radius=1).shape[1] == 4
