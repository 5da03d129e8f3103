"""Joints of the first frame of a video, carried through it as heat maps."""
from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmdssl.arguments import Positive, PositiveInt
from mmdssl.errors import InputError
from mmdssl.protocols.frozen import SampleMetric
from mmdssl.protocols.propagation import LabelPropagation
from mmdssl.registry import METRICS, MODELS

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
BOX_SHARE = 0.6


@MODELS.register_module()
class PosePropagation(LabelPropagation):
    """Carries the joints of a video's first frame through it, as Jabri et al. (NeurIPS 2020) evaluate on JHMDB.

    A joint is a heat map on the grid of the features, see :func:`heat_maps`; in a later frame it is found by :func:`peaks`.

    Args:
        backbone: See :class:`LabelPropagation`, which has more arguments.
        sigma: Standard deviation of the heat maps, in cells of the grid.
        cells: A joint is at the mean of so many cells, those that have most of it.
        **kwargs: Of :class:`LabelPropagation`.
    """

    def __init__(self, backbone: dict, sigma: Positive = 0.5, cells: PositiveInt = 5, **kwargs):
        super().__init__(backbone, **kwargs)
        self.sigma = sigma
        self.cells = cells

    def predict_sample(self, sample: dict) -> dict:
        """``joints`` of a clip of :class:`mmdssl.datasets.JHMDB`, see :meth:`predict`, and the ``seconds`` it took."""
        start = time.perf_counter()
        joints = self.predict(sample['frames'], sample['joints'][0], sample['size'])
        return dict(joints=joints, seconds=time.perf_counter() - start)

    @torch.no_grad()
    def predict(self, frames: Tensor, first: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """Positions of joints.

        Args:
            frames: ``(T, 3, h, w)`` uint8 RGB.
            first: Positions ``(J, 2)`` in the first frame, x and y in pixels of the video.
            size: Height and width of the video.

        Returns:
            Positions ``(T, J, 2)``, NaN where a joint is lost, by the names of :meth:`carry`.
        """
        if self.copy_first:
            return {'': np.broadcast_to(first, (len(frames), *first.shape))}
        features = self.features(frames)
        grid = features.shape[-2:]
        pixels = np.array([size[1] / grid[1], size[0] / grid[0]])  # of a cell, along x and y
        maps = torch.from_numpy(heat_maps(first / pixels, grid, self.sigma)).to(features)
        return {name: peaks(labels, self.cells) * pixels for name, labels in self.carry(features, maps)}


def heat_maps(points: np.ndarray, grid: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussians of height 1 around the cells that are nearest to points, cut off beyond ``3 sigma`` along x and y.

    (CRW's code puts those of the first cells one further from the border.)

    Args:
        points: ``(J, 2)``, x and y in cells, 0 at the centre of the first.
        grid: Height and width ``(h, w)``.
        sigma: Standard deviation in cells.

    Returns:
        ``(J, h, w)`` float64; all 0 where a point is too far outside, or not finite.
    """
    def along(length: int, centres: np.ndarray) -> np.ndarray:
        steps = np.arange(length) - np.floor(centres + 0.5)[:, None]
        return np.where(np.abs(steps) <= 3 * sigma, np.exp(-steps**2 / (2 * sigma**2)), 0)
    return along(grid[0], points[:, 1])[:, :, None] * along(grid[1], points[:, 0])[:, None]


def peaks(maps: Tensor, cells: int) -> np.ndarray:
    """Means of the ``cells`` highest cells of maps ``(..., h, w)``, weighted by their heights.

    Returns:
        ``(..., 2)`` float64, x and y in cells, NaN where a map is empty.
    """
    values, places = maps.double().flatten(-2).topk(min(cells, maps.shape[-2] * maps.shape[-1]))
    weights = values / values.sum(-1, keepdim=True)  # 0 / 0 where there is nothing
    width = maps.shape[-1]
    return torch.stack([(weights * (places % width)).sum(-1), (weights * (places // width)).sum(-1)], -1).cpu().numpy()


@METRICS.register_module()
class PCKMetric(SampleMetric):
    """Percentage of correct keypoints, ``PCK@0.1`` to ``PCK@0.5``, as Jabri et al. (NeurIPS 2020) compute it on JHMDB.

    A joint counts in the frames after the first where it is not lost, and is correct where :func:`pose_errors` are at most the number.
    The share of each joint over all clips is taken first, then their mean. ``found`` says which percentage of joints is not lost: those
    that are do not count. ``seconds_per_frame`` is the time.
    """

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        for clip, prediction in zip(data_batch, data_samples):
            errors = {name: pose_errors(joints[:len(clip['joints'])], clip['joints']) for name, joints in prediction['joints'].items()}
            self.results.append((errors, prediction['seconds'], len(clip['frames'])))

    def compute_metrics(self, results: list) -> dict[str, float]:
        errors, seconds, frames = zip(*results)
        metrics = {}
        for name in errors[0]:
            prefix = f'{name}/' if name else ''
            of_all = np.concatenate([of_clip[name] for of_clip in errors])
            metrics.update({f'{prefix}{key}': value for key, value in pck(of_all).items()})
        return {**metrics, 'seconds_per_frame': sum(seconds) / sum(frames)}


def pose_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances of joints from their true positions, as shares of the size of the person.

    The size is 0.6 times the diagonal of the box around the true positions of the joints that are predicted in the frame.

    Args:
        predicted: ``(T, J, 2)``, NaN where a joint is lost.
        truth: ``(T, J, 2)``.

    Returns:
        ``(T - 1, J)`` of the frames after the first, NaN where a joint is lost.
    """
    predicted, truth = predicted[1:], truth[1:]
    lost = np.isnan(predicted).any(-1, keepdims=True)
    low = np.where(lost, np.inf, truth).min(1, initial=np.inf)
    high = np.where(lost, -np.inf, truth).max(1, initial=-np.inf)
    size = BOX_SHARE * np.linalg.norm(high - low, axis=-1)[:, None]
    distance = np.linalg.norm(predicted - truth, axis=-1)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(distance == 0, 0, distance / size)  # of a single joint the box is a point


def pck(errors: np.ndarray) -> dict[str, float]:
    """Percentages of errors ``(N, J)`` within each of 0.1 to 0.5, means over the joints that are found at all; NaN is lost.

    Raises:
        InputError: All are lost.
    """
    found = ~np.isnan(errors)
    seen = found.any(0)
    if not seen.any():
        raise InputError('no joint is found in any frame after the first: there is nothing to measure')
    shares = {f'PCK@{threshold}': (errors <= threshold).sum(0)[seen] / found.sum(0)[seen] for threshold in THRESHOLDS}
    return {**{name: float(100 * share.mean()) for name, share in shares.items()}, 'found': float(100 * found.mean())}
