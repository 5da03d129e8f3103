"""DAVIS-2017's scores as a metric of MMEngine."""
from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from mmdssl.datasets.davis import read_frame, read_mask
from mmdssl.datasets.palette import save_mask
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.protocols.video_scores import FIRST_COPIED, SequenceScores, copy_first, overall_scores, score_rows, score_sequence, score_table
from mmdssl.registry import METRICS
from mmdssl.visualization.masks import overlay, save_video


@METRICS.register_module()
class DAVISMetric(SampleMetric):
    """J and F, their mean, recall and decay, in percent, and ``seconds_per_frame``; prints a table.

    Sequences are scored as they come, each by the process that predicted it. Several predictions for a sequence are
    scored each under its name: ``context4/J&F``. Beside them stands what copying the first mask to all frames comes to, in the
    table and in ``details``, as ``baseline``.

    Args:
        out_dir: Folder for the predicted masks, ``out_dir/<sequence>/00000.png``, as the official tool reads them.
        overlays: Folder for frames with the predicted objects tinted and numbered, contours of the true ones, and J&F of the frame,
            ``overlays/<sequence>/00000.jpg``.
        video: Write overlays as ``overlays/<sequence>.mp4``.
        prefix: MMEngine's.
    """

    def __init__(self, out_dir: str | Path | None = None, overlays: str | Path | None = None, video: bool = False,
                 prefix: str | None = None):
        super().__init__(prefix)
        self.out_dir = out_dir
        self.overlays = overlays
        self.video = video

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for sequence, prediction in zip(data_batch, data_samples):
            truth = [read_mask(path, sequence.get('binary', False)) for path in sequence['mask_paths']]
            scores = {}
            for name, masks in prediction['masks'].items():
                scores[name] = score_sequence(sequence['name'], masks[1:-1], truth)
                place = Path(name, sequence['name'])
                if self.out_dir:
                    _save_masks(self.out_dir / place, masks, sequence['mask_paths'])
                if self.overlays:
                    _save_overlays(self.overlays / place, masks, truth, scores[name], sequence['frame_paths'], self.video)
            self.results.append((scores, copy_first(sequence['name'], truth), prediction['seconds'], len(truth)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        scores, still, seconds, frames = zip(*results)
        metrics = {}
        for name in scores[0]:
            sequences = [of_sequence[name] for of_sequence in scores]
            Console().print(score_table(score_rows(sequences, still), f'DAVIS {name}'.strip()))
            prefix = f'{name}/' if name else ''
            metrics.update({prefix + key: value for key, value in overall_scores(sequences).items()})
        self.details = dict(baseline={FIRST_COPIED: overall_scores(still)})
        return {**metrics, 'seconds_per_frame': sum(seconds) / sum(frames)}


def _save_masks(folder: Path, masks: np.ndarray, mask_paths: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(mask_paths[0], folder / Path(mask_paths[0]).name)
    for mask, path in zip(masks[1:], mask_paths[1:]):
        save_mask(mask, folder / Path(path).name)


def _save_overlays(folder: Path, masks: np.ndarray, truth: Sequence[np.ndarray], scores: SequenceScores, frame_paths: Sequence[str],
                   video: bool) -> None:
    mean = 50 * (scores.j + scores.f).mean(0)  # of the objects, in the scored frames, which the first and the last are not
    words = ['', *(f'J&F {value:.1f}' for value in mean), '']
    pictures = (overlay(read_frame(path), *rest) for path, *rest in zip(frame_paths, masks, truth, words))
    if video:
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_video(pictures, folder.with_name(f'{folder.name}.mp4'))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for picture, path in zip(pictures, frame_paths):
        Image.fromarray(picture).save(folder / f'{Path(path).stem}.jpg', quality=90)
