from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_ranks
from tiny_videos import write_objects
from video_run import evaluate, evaluate_as_rank, video_config

from mmdssl.datasets.davis import list_samples
from mmdssl.datasets.palette import voc_palette
from mmdssl.datasets.vos import VideoObjects
from mmdssl.errors import InputError
from mmdssl.protocols.submission import VideoSubmission
from mmdssl.registry import MODELS


@MODELS.register_module()
class ObjectColours(torch.nn.Module):
    """Perfect features: the colour of each cell."""

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 8)


def submit(root: Path, out: Path, inside: str = 'Annotations', **options) -> dict:
    options = dict(dict(rules='dinov3', top_k=1, radius=2, context_frames=1), **options)
    model = MODELS.build(dict(type='MaskPropagation', backbone=dict(type='ObjectColours'), **options))
    dataset, metric = VideoObjects(str(root), short_side=None, long_side_step=8), VideoSubmission(str(out), inside)
    for item in dataset:
        batch = list_samples([item])
        metric.process(batch, model.test_step(batch))
    return metric.evaluate(len(dataset))


def test_the_archive_has_the_frames_that_are_asked_for(tmp_path):
    """Read back: of perfect features, the true masks, with the palette of DAVIS."""
    truth = write_objects(tmp_path / 'valid')
    metrics = submit(tmp_path / 'valid', tmp_path / 'out')
    wanted = dict(late=(1, 3, 5), plain=(0, 2, 4))
    assert (metrics['videos'], metrics['masks']) == (2, 6)
    with zipfile.ZipFile(tmp_path / 'out/submission.zip') as archive:
        assert archive.namelist() == [f'Annotations/{name}/{5 * t:05d}.png' for name, numbers in wanted.items() for t in numbers]
        assert archive.testzip() is None
        for name, numbers in wanted.items():
            for t in numbers:
                with archive.open(f'Annotations/{name}/{5 * t:05d}.png') as file:
                    image = Image.open(file)
                    assert image.mode == 'P' and image.getpalette() == voc_palette().ravel().tolist()
                    assert np.array_equal(image, truth[name][t])
    assert {7, 3, 0} == set(np.unique(truth['late'][5]))


def test_without_a_list_all_frames_are_written_from_the_first_mask_on(tmp_path):
    """As MOSE wants them, whose archive has the folders of the videos at its top."""
    write_objects(tmp_path / 'valid', meta=False)
    assert submit(tmp_path / 'valid', tmp_path / 'out', inside='')['masks'] == 11
    with zipfile.ZipFile(tmp_path / 'out/submission.zip') as archive:
        assert archive.namelist() == [*(f'late/{5 * t:05d}.png' for t in range(1, 6)), *(f'plain/{5 * t:05d}.png' for t in range(6))]


def test_several_predictions_are_an_error(tmp_path):
    write_objects(tmp_path / 'valid')
    with pytest.raises(InputError, match='a server takes one prediction, but there are context1, context2'):
        submit(tmp_path / 'valid', tmp_path / 'out', context_frames=[1, 2])


def test_one_and_two_processes_write_the_same_archive(tmp_path, monkeypatch):
    """Two processes have a video each."""
    monkeypatch.chdir(tmp_path)
    write_objects(tmp_path / 'valid')

    def changes(out: str) -> dict:
        return dict(name='youtube-vos', test_evaluator=dict(out_dir=str(tmp_path / out)), randomness=dict(seed=3),
                    **{'test_dataloader.dataset.short_side': 48, 'test_dataloader.dataset.long_side_step': 16})

    metrics = evaluate(video_config(tmp_path / 'valid', tmp_path / 'work', **changes('one')))
    run_ranks(evaluate_as_rank, 2, tmp_path / 'valid', tmp_path, changes('two'))
    assert (metrics['videos'], metrics['masks']) == (2, 6)
    for rank in range(2):
        assert json.loads((tmp_path / f'metrics.{rank}').read_text())['masks'] == 6
    one, two = (zipfile.ZipFile(tmp_path / out / 'submission.zip') for out in ('one', 'two'))
    assert one.namelist() == two.namelist() and len(one.namelist()) == 6
    assert all(one.read(name) == two.read(name) for name in one.namelist())
