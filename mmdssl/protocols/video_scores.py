"""Region similarity J and contour accuracy F of video object segmentation, as in DAVIS-2017's semi-supervised task.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016; Pont-Tuset et
al., "The 2017 DAVIS Challenge on Video Object Segmentation", 2017.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from rich.table import Table

from mmdssl.datasets.palette import VOID
from mmdssl.errors import InputError

TOLERANCE = 0.008
FIRST_COPIED = 'first mask copied'
COLUMNS = ('J_mean', 'J_recall', 'J_decay', 'F_mean', 'F_recall', 'F_decay')


@dataclass(frozen=True)
class SequenceScores:
    """J and F of a sequence.

    Attributes:
        name: Of the sequence.
        j: J of every object in every scored frame, ``(objects, frames)``, in the order of their ids.
        f: The same of F.
        ids: Of the objects; from 1 on where they are left out.
    """
    name: str
    j: np.ndarray
    f: np.ndarray
    ids: Sequence[int] = ()


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two boolean masks ``(H, W)``; 1 where both are empty."""
    union = (predicted | truth).sum()
    return float((predicted & truth).sum() / union) if union else 1.


def contour_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """F: harmonic mean of the shares of two masks' boundary pixels that lie near the other's boundary.

    Near is within ``ceil(0.008 * diagonal)`` pixels. Where one mask has no boundary F is 0, where neither has it is 1.

    Args:
        predicted: Boolean mask ``(H, W)``.
        truth: Another one.
    """
    ours, theirs = boundary(predicted), boundary(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    reach = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    precision = ours[_dilate(theirs, reach)].sum() / ours.sum()
    recall = theirs[_dilate(ours, reach)].sum() / theirs.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.


def boundary(mask: np.ndarray) -> np.ndarray:
    """The pixels of a boolean mask ``(H, W)`` that differ from their right, lower or lower right neighbour."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def _dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    offsets = np.arange(-radius, radius + 1)
    disk = np.hypot(*np.meshgrid(offsets, offsets)) <= radius
    return cv2.dilate(mask.astype(np.uint8), disk.astype(np.uint8)).astype(bool)


def score_sequence(name: str, predicted: Iterable[np.ndarray], truth: Sequence[np.ndarray]) -> SequenceScores:
    """J and F of every object in every frame but the first, which is given, and the last.

    The objects are the ids of the first frame's annotation, which may leave numbers out; one that is not predicted counts as an empty mask.

    Args:
        name: Of the sequence.
        predicted: Ids ``(H, W)`` of the scored frames, so two fewer than annotations.
        truth: Annotations ``(H, W)`` of all frames; 255 is void and counts as background.

    Raises:
        InputError: Nothing can be scored, or a prediction has another size or more objects than the annotation.
    """
    objects = [i for i in np.unique(truth[0]).tolist() if i not in (0, VOID)]
    if not objects:
        raise InputError(f"sequence '{name}' has no object in its first mask: there is nothing to follow, leave it out")
    if len(truth) < 3:
        raise InputError(f"sequence '{name}' has {len(truth)} frames, of which the first and the last are not scored: "
                         'leave it out')
    j, f = np.zeros((2, len(objects), len(truth) - 2))
    for t, (ids, annotation) in enumerate(zip(predicted, truth[1:-1], strict=True)):
        if ids.shape != annotation.shape:
            raise InputError(f"sequence '{name}', frame {t + 1}: the predicted mask has height and width {ids.shape}, "
                             f'the annotation {annotation.shape}; save predictions at the size of the annotations')
        if ids.max() > objects[-1]:
            raise InputError(f"sequence '{name}', frame {t + 1}: object {ids.max()} is predicted, but the first "
                             f'annotation has {objects[-1]}; save masks as ids, 0 for the background')
        for i, number in enumerate(objects):
            pair = ids == number, annotation == number
            j[i, t], f[i, t] = region_similarity(*pair), contour_accuracy(*pair)
    return SequenceScores(name, j, f, objects)


def copy_first(name: str, truth: Sequence[np.ndarray]) -> SequenceScores:
    """J and F of a sequence whose first mask is taken for all frames: what no tracking at all comes to."""
    still = np.where(truth[0] == VOID, 0, truth[0])
    return score_sequence(name, [still] * (len(truth) - 2), truth)


def statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall and decay of one object's values ``(n, )`` over time.

    Recall is the share of values above 0.5, decay the mean of the first quarter less that of the last. Neighbouring
    quarters share the frame at their limit, as in the official tool.
    """
    limits = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[:limits[1] + 1], values[limits[3]:]
    return float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean())


def object_scores(sequence: SequenceScores) -> np.ndarray:
    """Percentages ``(objects, 6)`` in the order of ``COLUMNS``."""
    return 100 * np.array([statistics(j) + statistics(f) for j, f in zip(sequence.j, sequence.f)])


def overall_scores(sequences: Sequence[SequenceScores]) -> dict[str, float]:
    """Percentages of a dataset: means over all objects of all sequences, ``J&F`` and those of ``COLUMNS``."""
    means = dict(zip(COLUMNS, np.concatenate([object_scores(sequence) for sequence in sequences]).mean(0).tolist()))
    return {'J&F': (means['J_mean'] + means['F_mean']) / 2, **means}


def score_rows(sequences: Sequence[SequenceScores], still: Sequence[SequenceScores]) -> dict[str, dict[str, float]]:
    """Percentages of each object of each sequence, of all objects, and of all where the first masks are copied (``still``)."""
    rows = {f'{sequence.name}_{number}': {'J&F': (row[0] + row[3]) / 2, **dict(zip(COLUMNS, row))}
            for sequence in sequences
            for number, row in zip(sequence.ids or range(1, len(sequence.j) + 1), object_scores(sequence).tolist())}
    return {**rows, 'all objects': overall_scores(sequences), FIRST_COPIED: overall_scores(still)}


def score_table(rows: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """What :func:`score_rows` has found, with one decimal."""
    table = Table('object', title=title)
    for name in ('J&F', *COLUMNS):
        table.add_column(name.replace('_', '\n'), justify='right')
    for name, row in rows.items():
        if name == 'all objects':
            table.add_section()
        table.add_row(name, *(f'{value:.1f}' for value in row.values()))
    return table
