"""How much of a patch's position its features hold, and the directions in which they hold it.

RASA of Franca (2025) learns the weights of a linear model by gradient descent, removes them, and again; here all is in closed form.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from mmdssl.arguments import NonNegativeInt, Positive
from mmdssl.errors import InputError
from mmdssl.protocols.features import Extractor
from mmdssl.protocols.moments import Moments, determination, ridge
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.registry import METRICS

AXES = ('row', 'column')
NOTHING = 1e-3  # R^2 of a fit that finds no position


def grid_positions(grid: tuple[int, int], device: torch.device | str | None = None) -> Tensor:
    """Row and column of the centre of each patch of a grid, over the number of rows and of columns, ``(h w, 2)`` float64."""
    rows, columns = ((torch.arange(number, dtype=torch.float64, device=device) + 0.5) / number for number in grid)
    return torch.cartesian_prod(rows, columns)


def position_moments(batches: PatchFeatures) -> Moments:
    """Those of all patches' features and positions, on every process.

    Raises:
        InputError: There is a single row or column, or no image can be decoded.
    """
    found = Moments(len(AXES), batches.device)
    for batch in batches:
        if min(batch.grid) < 2:
            raise InputError(f'positions are measured in a grid of patches, and images have {" x ".join(map(str, batch.grid))}: set size '
                             'of both data sets to several patches')
        positions = grid_positions(batch.grid, batch.values.device)
        found.add(batch.values.flatten(0, 1), positions.repeat(len(batch.values), 1))
    if not found.reduce().count:
        batches.warn_of_unreadable()
    return found


def position_directions(moments: Moments, rounds: int = 9, shrinkage: float = 1e-6,
                        by: Literal['covariance', 'weights'] = 'covariance') -> Tensor:
    """Orthonormal directions ``(k, D)``, float64, of the inputs that tell the targets.

    In each round, the targets are fitted by the inputs from which all directions so far were removed, and new directions are taken. It
    ends where less than a thousandth of the variance of each target is left to be told.

    Args:
        moments: Of inputs and targets.
        rounds: How often, at most.
        by: ``'covariance'``, the directions of the covariance with the targets: without them no linear model tells anything, after a
            single round; ``'weights'``, the weights of the fit, as RASA: others that vary with them can still tell the same.
        shrinkage: See :func:`mmdssl.protocols.moments.ridge`.
    """
    directions = moments.sums.new_zeros(0, moments.inputs)
    for _ in range(rounds):
        left = moments.without(directions)
        model = ridge(left, shrinkage, moments.variance)
        told = determination(left, model) > NOTHING
        weights = (model.weight if by == 'weights' else left.covariance[left.inputs:, :left.inputs])[told]
        weights = weights - weights @ directions.T @ directions  # once more, against rounding
        if not len(weights) or not weights.any():
            break
        _, sizes, found = torch.linalg.svd(weights, full_matrices=False)
        directions = torch.cat([directions, found[sizes > 1e-9 * sizes[0]]])
    return directions


@METRICS.register_module()
class PositionMetric:
    """How well a linear model tells the position of a patch: ``position_r2_row``, ``position_r2_column`` and their mean ``position_r2``.

    They are coefficients of determination in percent, on the queries, of a fit in closed form on the bank: 100 where features tell the
    position exactly, 0 where they tell no more than the mean position, and below where the fit does not hold. ``position_r2_free`` is
    their mean after the directions have been removed that tell positions on the bank (:func:`position_directions`), by a new fit;
    ``position_directions`` is their number. Of several blocks all names end in the number of the block, ``_1`` for the first that is
    read.

    Args:
        rounds: Of the search for directions, at most; nine in RASA.
        by: Which directions, see :func:`position_directions`; in RASA ``'weights'``.
        shrinkage: Of the fits, see :func:`mmdssl.protocols.moments.ridge`.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; patches.

    Attributes:
        directions: Those of each block, ``(blocks, k, D)``, filled up with zeros; None before the first call.
    """

    def __init__(self, rounds: NonNegativeInt = 9, by: Literal['covariance', 'weights'] = 'covariance', shrinkage: Positive = 1e-6,
                 extractor: Mapping | Extractor | None = None):
        self.rounds = rounds
        self.by = by
        self.shrinkage = shrinkage
        self.extractor = Extractor.of(extractor, read='patches')
        self.directions: Tensor | None = None

    def __call__(self, bank: PatchFeatures, queries: PatchFeatures) -> dict[str, float]:
        """Every process has a share of the patches."""
        found, truth = position_moments(bank), position_moments(queries)
        blocks = self.extractor.blocks if isinstance(self.extractor.blocks, int) else len(set(self.extractor.blocks))
        width, metrics, directions = found.inputs // blocks, {}, []
        for block in range(blocks):
            columns = slice(block * width, (block + 1) * width)
            measured, of_block = self._measure(found.of_inputs(columns), truth.of_inputs(columns))
            metrics.update({f'{name}_{block + 1}' if blocks > 1 else name: value for name, value in measured.items()})
            directions.append(of_block)
        self.directions = torch.nn.utils.rnn.pad_sequence(directions, batch_first=True)
        return metrics

    def _measure(self, bank: Moments, queries: Moments) -> tuple[dict[str, float], Tensor]:
        directions = position_directions(bank, self.rounds, self.shrinkage, self.by)
        by_axis = 100 * determination(queries, ridge(bank, self.shrinkage))
        free = 100 * determination(queries.without(directions), ridge(bank.without(directions), self.shrinkage, bank.variance))
        return dict(position_r2=by_axis.mean().item(), **{f'position_r2_{axis}': r2.item() for axis, r2 in zip(AXES, by_axis)},
                    position_r2_free=free.mean().item(), position_directions=len(directions)), directions
