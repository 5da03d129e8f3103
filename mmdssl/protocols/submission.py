"""Masks as servers want them, which alone know the true ones."""
from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from mmdssl.datasets.palette import save_mask
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.registry import METRICS


@METRICS.register_module()
class VideoSubmission(SampleMetric):
    """Writes the masks of :class:`mmdssl.datasets.VideoObjects` for a server, and counts ``videos`` and ``masks``; there is no score.

    Masks are PNGs with the palette of DAVIS, whose indices are the ids of the objects as given, in the size of the given masks, of the
    frames that are asked for.

    Args:
        out_dir: Folder for the masks, ``<inside>/<video>/<frame>.png``, and for the archive of them, ``submission.zip``.
        inside: Folder in the archive: ``'Annotations'`` for YouTube-VOS, ``''`` for MOSE.
        prefix: MMEngine's.

    Raises:
        InputError: There are several predictions for each video.
    """

    def __init__(self, out_dir: str, inside: str = '', prefix: str | None = None):
        super().__init__(prefix)
        self.out_dir = Path(out_dir)
        self.inside = inside

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for video, prediction in zip(data_batch, data_samples):
            if len(prediction['masks']) > 1:
                raise InputError(f"a server takes one prediction, but there are {', '.join(prediction['masks'])}: set "
                                 'model.context_frames to one number')
            masks, = prediction['masks'].values()
            paths = []
            for mask, frame, asked in zip(masks, video['frame_paths'], video['asked']):
                if asked:
                    paths.append(Path(self.inside, video['name'], f'{Path(frame).stem}.png').as_posix())
                    save_mask(mask, self.out_dir / paths[-1])
            self.results.append((paths, prediction['seconds'], len(masks)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        paths, seconds, frames = zip(*results)
        archive = self.out_dir / 'submission.zip'
        with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
            for path in sorted(path for of_video in paths for path in of_video):
                file.write(self.out_dir / path, path)
        print_log(f"'{archive}' is to be sent to the server, which alone can score it.", 'current')
        return dict(videos=len(paths), masks=sum(map(len, paths)), seconds_per_frame=sum(seconds) / sum(frames))
