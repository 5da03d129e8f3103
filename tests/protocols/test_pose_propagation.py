from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_videos import SIZE, drifting, write_jhmdb
from video_run import CONFIGS

from mmdssl.cli.test import main
from mmdssl.datasets.davis import list_samples
from mmdssl.datasets.jhmdb import JHMDB
from mmdssl.errors import InputError
from mmdssl.protocols.pose_propagation import PCKMetric, heat_maps, pck, peaks, pose_errors
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records


@MODELS.register_module()
class CellColours(torch.nn.Module):
    """Perfect features: the colour of each cell, or, ``constant``, none."""

    def __init__(self, constant: bool = False):
        super().__init__()
        self.constant = constant

    def forward(self, images):
        maps = torch.nn.functional.avg_pool2d(images, 8)
        return torch.ones_like(maps) if self.constant else maps


def make(constant=False, **kwargs):
    options = dict(context_frames=1, radius=2, top_k=1)
    return MODELS.build(dict(type='PosePropagation', backbone=dict(type='CellColours', constant=constant), **{**options, **kwargs}))


def evaluate(model, root):
    """By the metric, over a data set of clips."""
    metric, dataset = PCKMetric(), JHMDB(str(root), size=SIZE)
    for item in dataset:
        batch = list_samples([item])
        metric.process(batch, model.test_step(batch))
    return metric.evaluate(len(dataset))


def test_a_heat_map_is_a_gaussian_around_the_nearest_cell():
    points = np.array([[2.4, 1.], [3.6, 0.], [-1.4, 2.], [-1.6, 2.], [np.nan, 1.]])
    maps = heat_maps(points, (4, 6), sigma=0.5)
    expected = np.zeros((5, 4, 6))
    for joint, (cx, cy) in enumerate([(2, 1), (4, 0), (-1, 2)]):
        for y in range(4):
            for x in range(6):
                if abs(x - cx) <= 1.5 and abs(y - cy) <= 1.5:
                    expected[joint, y, x] = math.exp(-((x - cx)**2 + (y - cy)**2) / (2 * 0.5**2))
    assert np.allclose(maps, expected, rtol=0, atol=1e-15)
    assert maps[0].max() == 1 and maps[2].any() and not maps[3:].any()


def test_a_joint_is_at_the_weighted_mean_of_the_best_cells():
    maps = torch.zeros(2, 3, 4, 5)
    maps[0, 0, 1, 2], maps[0, 0, 1, 3], maps[0, 0, 3, 0] = 0.5, 0.25, 0.125
    maps[1, 1] = torch.rand(4, 5)
    found = peaks(maps, cells=2)
    assert found.shape == (2, 3, 2) and np.allclose(found[0, 0], [(2 * 0.5 + 3 * 0.25) / 0.75, 1])
    order = maps[1, 1].flatten().argsort(descending=True)[:2].tolist()
    values = [maps[1, 1].flatten()[i].item() for i in order]
    assert np.allclose(found[1, 1], [sum(v * (i % 5) for v, i in zip(values, order)) / sum(values),
                                     sum(v * (i // 5) for v, i in zip(values, order)) / sum(values)])
    assert np.isnan(found[:, 2]).all() and np.isnan(found[1, 0]).all()
    assert np.allclose(peaks(maps, cells=100)[1, 1, 0], (maps[1, 1] * torch.arange(5)).sum() / maps[1, 1].sum())


@pytest.mark.parametrize('sigma', [0.5, 1.])
def test_joints_of_a_heat_map_are_found_where_they_were(sigma):
    points = np.array([[2., 1.], [4., 3.], [1., 4.]])
    assert np.allclose(peaks(torch.from_numpy(heat_maps(points, (6, 7), sigma)), 5), points)


def test_errors_by_hand():
    """Joints at the corners of a box of 30 x 40 pixels: its diagonal is 50, the size of the person 30."""
    corners = np.array([[0., 0.], [30., 0.], [0., 40.], [30., 40.]])
    truth = np.stack([corners, corners, corners + 7])
    predicted = truth.copy()
    predicted[0] += 1000  # the first frame is given
    predicted[1, 0] += [3, 0]
    predicted[1, 1] += [0, -6]
    predicted[2, 2] += [9, 12]
    predicted[2, 3] = np.nan  # in this frame the box is that of the three others, which is the same
    errors = pose_errors(predicted, truth)
    assert np.allclose(errors, [[0.1, 0.2, 0, 0], [0, 0, 0.5, np.nan]], equal_nan=True)
    scores = pck(np.array([[0.05, 0.2, 0, 0], [0, 0, 0.5, np.nan]]))
    assert scores == pytest.approx({'PCK@0.1': 100 * (1 + 0.5 + 0.5 + 1) / 4, 'PCK@0.2': 100 * (1 + 1 + 0.5 + 1) / 4,
                                    'PCK@0.3': 87.5, 'PCK@0.4': 87.5, 'PCK@0.5': 100, 'found': 87.5})


def test_scores_equal_loops_over_joints():
    rng = np.random.default_rng(0)
    clips = [(rng.uniform(0, 100, (t, 6, 2)), rng.uniform(0, 100, (t, 6, 2))) for t in (4, 7)]
    clips[0][0][2, 3], clips[1][0][:, 5], clips[0][0][:, 5] = np.nan, np.nan, np.nan  # joint 5 is never found
    distances = {joint: [] for joint in range(6)}
    for predicted, truth in clips:
        for t in range(1, len(truth)):
            there = [joint for joint in range(6) if not np.isnan(predicted[t, joint, 0])]
            xs, ys = [truth[t, joint, 0] for joint in there], [truth[t, joint, 1] for joint in there]
            size = 0.6 * math.hypot(max(xs) - min(xs), max(ys) - min(ys))
            for joint in there:
                distances[joint].append(math.dist(predicted[t, joint], truth[t, joint]) / size)
    scores = pck(np.concatenate([pose_errors(*clip) for clip in clips]))
    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5):
        shares = [sum(d <= threshold for d in of_joint) / len(of_joint) for of_joint in distances.values() if of_joint]
        assert scores[f'PCK@{threshold}'] == pytest.approx(100 * sum(shares) / 5)
    assert 0 < scores['PCK@0.2'] < scores['PCK@0.5'] < 100
    assert scores['found'] == pytest.approx(100 * sum(map(len, distances.values())) / 54)


def test_of_a_single_joint_only_the_exact_place_is_correct():
    truth = np.zeros((3, 1, 2))
    assert pose_errors(np.array([[[0., 0]], [[0, 0]], [[1, 0]]]), truth).tolist() == [[0], [np.inf]]


def test_where_no_joint_is_found_there_is_no_score():
    with pytest.raises(InputError, match='no joint is found'):
        pck(np.full((3, 2), np.nan))


def test_perfect_features_have_no_error(tmp_path):
    joints = write_jhmdb(tmp_path)
    metrics = evaluate(make(), tmp_path)
    assert {name: value for name, value in metrics.items() if name != 'seconds_per_frame'} == {
        **{f'PCK@{threshold}': 100 for threshold in (0.1, 0.2, 0.3, 0.4, 0.5)}, 'found': 100}
    found = make().predict(torch.from_numpy(drifting(4)).permute(0, 3, 1, 2), joints['clap/clip_0'][0], SIZE)['']
    assert np.allclose(found, joints['clap/clip_0'])


def test_copying_the_first_frame_is_the_motion_of_the_joints(tmp_path):
    """8 pixels per frame, by the size of each person."""
    joints = write_jhmdb(tmp_path)
    metrics = evaluate(make(copy_first=True), tmp_path)
    shares = []
    for positions in joints.values():
        size = 0.6 * np.linalg.norm(np.ptp(positions[0], axis=0))
        shares.append(np.mean([8 * t / size <= 0.3 for t in (1, 2, 3)]))
    assert metrics['PCK@0.3'] == pytest.approx(100 * np.mean(shares)) and 0 < metrics['PCK@0.3'] < 100


def test_constant_features_spread_a_joint_over_its_neighbourhood():
    """Everything is equally similar: the joint is anywhere, and equally so, within the radius of where its map was, or in the frame."""
    first = np.array([[48., 24.]])
    model = make(constant=True, radius=1, cells=96)
    found = model.predict(torch.zeros(2, 3, *SIZE, dtype=torch.uint8), first, SIZE)['']
    assert np.allclose(found[:, :, 0], 48) and abs(found[1, 0, 1] - 24) < 2  # by symmetry, but for what lies below the frame
    assert np.allclose(make(constant=True, radius=None, cells=96).predict(
        torch.zeros(2, 3, *SIZE, dtype=torch.uint8), first, SIZE)[''][1], [[8 * 7.5, 8 * 2.5]])


def test_several_numbers_of_context_frames_are_scored_under_their_names(tmp_path):
    write_jhmdb(tmp_path)
    metrics = evaluate(make(context_frames=[0, 2]), tmp_path)
    assert metrics['context2/PCK@0.1'] == 100 and set(metrics) == {
        *(f'context{n}/{key}' for n in (0, 2) for key in (*(f'PCK@0.{i}' for i in range(1, 6)), 'found')), 'seconds_per_frame'}


def test_from_the_command_line(tiny_weights, tmp_path):
    write_jhmdb(tmp_path / 'jhmdb')
    assert main([str(CONFIGS / 'jhmdb_crw.py'), str(tiny_weights), '--data', str(tmp_path / 'jhmdb'), '--work-dir',
                 str(tmp_path / 'work'), '--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.dataset.size=(48,96)']) == 0
    record, = read_records(tmp_path / 'work/results.jsonl')
    assert (record['task'], record['dataset_name'], record['framework']) == ('pose-propagation', 'jhmdb', 'crw')
    assert record['metrics']['found'] == 100 and 0 <= record['metrics']['PCK@0.1'] <= record['metrics']['PCK@0.5'] <= 100
