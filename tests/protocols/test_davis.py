from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from processes import run_ranks
from video_run import evaluate, evaluate_as_rank, video_config

from mmdssl.datasets.davis import read_mask
from mmdssl.protocols.video_scores import overall_scores, score_sequence

NAMES = ['J&F', 'J_mean', 'J_recall', 'J_decay', 'F_mean', 'F_recall', 'F_decay', 'seconds_per_frame']
SEED = dict(seed=3)


@pytest.fixture(scope='module')
def run(davis_root, tmp_path_factory):
    """An evaluation that leaves masks and pictures: its folder and its metrics."""
    folder = tmp_path_factory.mktemp('run')
    cfg = video_config(davis_root, folder / 'work', randomness=SEED,
                       test_evaluator=dict(out_dir=str(folder / 'masks'), overlays=str(folder / 'overlays')))
    return folder, evaluate(cfg)


def test_metrics_are_those_of_the_masks_it_leaves(run, davis_root):
    """As palette PNGs in the official layout, one for each annotation."""
    folder, metrics = run
    assert list(metrics) == NAMES and metrics['seconds_per_frame'] > 0
    scores = []
    for name in ('val-00', 'val-01', 'val-02'):
        annotations = sorted((davis_root / 'Annotations/480p' / name).iterdir())
        files = [folder / 'masks' / name / path.name for path in annotations]
        assert sorted((folder / 'masks' / name).iterdir()) == files
        assert all(Image.open(file).mode == 'P' for file in files)
        assert files[0].read_bytes() == annotations[0].read_bytes()
        truth = [read_mask(path) for path in annotations]
        scores.append(score_sequence(name, [read_mask(path) for path in files[1:-1]], truth))
    overall = overall_scores(scores)
    assert overall == pytest.approx({name: metrics[name] for name in overall}) and 5 < overall['J&F'] < 95


def test_overlays_are_frames_of_the_videos_size(run, davis_root):
    folder, _ = run
    pictures = sorted((folder / 'overlays/val-01').glob('*.jpg'))
    assert [path.name for path in pictures] == [f'{i:05d}.jpg' for i in range(6)]
    picture, frame = (np.array(Image.open(path)).astype(int)
                      for path in (pictures[0], davis_root / 'JPEGImages/480p/val-01/00000.jpg'))
    mask = read_mask(davis_root / 'Annotations/480p/val-01/00000.png')
    change = np.abs(picture - frame).sum(2)
    assert np.median(change[mask == 0]) < 10 and change[mask > 0].mean() > 60


def test_sweep_over_context_frames(davis_root, tmp_path):
    folders = dict(out_dir=str(tmp_path / 'masks'), overlays=str(tmp_path / 'videos'))
    cfg = video_config(davis_root, tmp_path, 'davis2017_context', randomness=SEED, **{'model.context_frames': [1, 4]},
                       test_evaluator=dict(folders, video=True))
    metrics = evaluate(cfg)
    assert list(metrics) == [f'context{n}/{name}' for n in (1, 4) for name in NAMES[:-1]] + NAMES[-1:]
    assert metrics['context1/J&F'] != metrics['context4/J&F']
    assert len(list((tmp_path / 'masks/context4/val-02').iterdir())) == 6
    video = cv2.VideoCapture(str(tmp_path / 'videos/context1/val-02.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 6 and video.get(cv2.CAP_PROP_FRAME_WIDTH) == 192


def test_copying_the_first_mask_is_one_option(davis_root, tmp_path, capsys):
    metrics = evaluate(video_config(davis_root, tmp_path, **{'model.copy_first': True}))
    masks = [[read_mask(path) for path in sorted(folder.iterdir())]
             for folder in sorted((davis_root / 'Annotations/480p').iterdir())]
    expected = overall_scores([score_sequence('', truth[:1] * 4, truth) for truth in masks])
    assert expected == pytest.approx({name: metrics[name] for name in expected})
    table = capsys.readouterr().out
    assert 'val-01_2' in table and f'{metrics["J&F"]:.1f}' in table


def test_two_processes_give_the_result_of_one(run, davis_root, tmp_path, monkeypatch):
    """Three sequences: one process has two, the other one; both know the result."""
    monkeypatch.chdir(tmp_path)
    run_ranks(evaluate_as_rank, 2, davis_root, tmp_path, dict(randomness=SEED))
    first, second = (json.loads((tmp_path / f'metrics.{rank}').read_text()) for rank in range(2))
    assert first == second
    _, alone = run
    assert {name: first[name] for name in NAMES[:-1]} == pytest.approx({name: alone[name] for name in NAMES[:-1]})
    assert not Path('.dist_test').exists()  # MMEngine's, into the current folder
