from __future__ import annotations

import numpy as np
import pytest
import torch

from mmdssl.protocols.kmeans import SPLIT, draw_sample, kmeans, nearest_centroids, split_empty


def blobs(k=4, each=50, spread=0.05):
    return (torch.randn(k, 1, 8) + spread * torch.randn(k, each, 8)).flatten(0, 1)


def test_nearest_centroids_are_those_of_a_loop(monkeypatch):
    monkeypatch.setattr('mmdssl.protocols.kmeans.CHUNK', 100)
    points, centroids = torch.randn(57, 5), torch.randn(9, 5)
    numbers, distances = nearest_centroids(points, centroids)
    wanted = (points[:, None].double() - centroids.double()).square().sum(-1).min(1)
    assert torch.equal(numbers, wanted.indices)
    torch.testing.assert_close(distances.double(), wanted.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('iterations', [1, 2, 7, 100])
def test_it_is_scikit_learns_from_the_same_start(iterations):
    from sklearn.cluster import KMeans
    points = torch.randn(300, 6)
    start = points[torch.randperm(300, generator=torch.Generator().manual_seed(3))[:5]]
    wanted = KMeans(5, init=start.double().numpy(), n_init=1, max_iter=iterations, tol=0, algorithm='lloyd').fit(points.double())
    found = kmeans(points, 5, iterations, seed=3)
    # theirs leaves out the last update where it stops early, when nothing changes any more
    np.testing.assert_allclose(found.centroids, wanted.cluster_centers_, rtol=1e-4, atol=1e-5)


def test_the_tightest_of_several_runs_finds_the_blobs():
    points = blobs(5, 40)
    runs = [kmeans(points, 5, seed=10 + i) for i in range(5)]
    best = min(runs, key=lambda run: run.inertia)
    assert best.inertia < max(run.inertia for run in runs)
    centres = points.view(5, 40, 8).mean(1)
    torch.testing.assert_close(best.centroids[nearest_centroids(centres, best.centroids)[0]], centres)


def test_an_empty_cluster_takes_half_of_another():
    centroids, sizes = torch.tensor([[1., 2., 3.], [0, 0, 0], [4, 5, 6]]), torch.tensor([1, 0, 7])  # one of a single point is not split
    split_empty(centroids, sizes, torch.Generator().manual_seed(0))
    assert sizes.tolist() == [1, 3, 4]
    other = torch.tensor([4., 5, 6])
    torch.testing.assert_close(centroids, torch.stack([torch.tensor([1., 2, 3]), other * torch.tensor([1 + SPLIT, 1 - SPLIT, 1 + SPLIT]),
                                                       other * torch.tensor([1 - SPLIT, 1 + SPLIT, 1 - SPLIT])]))


def test_empty_clusters_are_filled_by_splitting_others():
    points = torch.cat([torch.zeros(40, 3), torch.randn(40, 3) + 9])  # of most starts at zero all but one would be empty
    found = kmeans(points, 12, seed=1)
    assert len(nearest_centroids(points, found.centroids)[0].unique()) > 10


def test_clusters_of_equal_points_do_not_divide():
    found = kmeans(torch.ones(5, 3), 3, iterations=5)
    assert found.centroids.isfinite().all() and found.inertia < 1e-6


def test_samples_are_as_large_as_faiss_takes_them_and_always_the_same():
    assert draw_sample(512, 2, 0).tolist() == list(range(512))
    drawn = draw_sample(2000, 2, 0)
    assert len(drawn.unique()) == 512 and drawn.equal(draw_sample(2000, 2, 0)) and not drawn.equal(draw_sample(2000, 2, 1))
