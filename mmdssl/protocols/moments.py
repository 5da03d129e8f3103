"""Sums over many rows, from which linear models follow in closed form."""
from __future__ import annotations

from typing import NamedTuple

import torch
from mmengine.dist import all_reduce
from torch import Tensor

TINY = torch.finfo(torch.float64).tiny
NEVER = -1e30  # the score of a class without examples; finite, because scores are interpolated


class Affine(NamedTuple):
    """``weight @ x + bias``, float64.

    Attributes:
        weight: ``(K, D)``.
        bias: ``(K,)``.
    """
    weight: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """``(..., K)`` of ``(..., D)``, in the precision of the inputs."""
        return inputs @ self.weight.T.to(inputs) + self.bias.to(inputs)


class Moments:
    """Sums of weighted rows ``[1, x, y]`` times themselves, float64: means and covariances of inputs x and targets y.

    Nothing of a row is kept, so that any number of them can be added, and each process can add its own.

    Args:
        targets: Width K of y.
        device: Where to sum.

    Attributes:
        inputs: Width D of x; 0 before there is a row.
        sums: ``(1 + D + K, 1 + D + K)``.
    """

    def __init__(self, targets: int = 0, device: torch.device | str | None = None):
        self.targets = targets
        self.sums = torch.zeros(1 + targets, 1 + targets, dtype=torch.float64, device=device)

    @property
    def inputs(self) -> int:
        return len(self.sums) - 1 - self.targets

    def add(self, inputs: Tensor, targets: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Add rows ``(n, D)`` and ``(n, K)``, each of which counts as often as its weight says, by default once."""
        self._widen(inputs.shape[1])
        parts = [self.sums.new_ones(len(inputs), 1), inputs, *([] if targets is None else [targets])]
        rows = torch.cat([part.to(self.sums) for part in parts], dim=1)
        self.sums.addmm_(rows.T if weights is None else (rows * weights[:, None]).T, rows)

    def _widen(self, inputs: int) -> None:
        if not self.inputs:
            self.sums = self.sums.new_zeros((1 + inputs + self.targets, ) * 2)

    def reduce(self) -> Moments:
        """Those of the rows of all processes, of which some may have none."""
        width = torch.tensor(self.inputs, device=self.sums.device)
        all_reduce(width, 'max')
        self._widen(int(width))
        all_reduce(self.sums)
        return self

    def _with(self, sums: Tensor) -> Moments:
        found = Moments(self.targets)
        found.sums = sums
        return found

    def __add__(self, other: Moments) -> Moments:
        return self._with(self.sums + other.sums)

    @property
    def count(self) -> Tensor:
        """The sum of the weights."""
        return self.sums[0, 0]

    @property
    def mean(self) -> Tensor:
        """Of inputs and targets, ``(D + K,)``."""
        return self.sums[0, 1:] / self.count

    @property
    def covariance(self) -> Tensor:
        """Of inputs and targets, ``(D + K, D + K)``."""
        return self.sums[1:, 1:] / self.count - self.mean.outer(self.mean)

    @property
    def variance(self) -> Tensor:
        """The mean of the inputs' variances."""
        return self.covariance.diagonal()[:self.inputs].mean()

    def of_inputs(self, columns: slice) -> Moments:
        """Those of some of the inputs, and of the targets."""
        rows = torch.arange(len(self.sums), device=self.sums.device)
        kept = torch.cat([rows[:1], rows[1:1 + self.inputs][columns], rows[1 + self.inputs:]])
        return self._with(self.sums[kept][:, kept])

    def without(self, directions: Tensor) -> Moments:
        """Those of inputs from which orthonormal directions ``(k, D)`` are removed."""
        sums, inside = self.sums.clone(), slice(1, 1 + self.inputs)
        for part in (sums[inside], sums.T[inside]):  # rows, then columns
            part -= directions.T @ (directions @ part)
        return self._with(sums)

    def squared_errors(self, model: Affine) -> Tensor:
        """Means ``(K,)`` of the squared differences of targets and what a model makes of inputs."""
        identity = torch.eye(len(model.bias), dtype=model.weight.dtype, device=model.weight.device)
        difference = torch.cat([-model.bias[:, None], -model.weight, identity], dim=1)
        return ((difference @ self.sums) * difference).sum(1) / self.count


def ridge(moments: Moments, shrinkage: float, variance: Tensor | None = None) -> Affine:
    """Least squares with a penalty: ``W = (C_xx + shrinkage tr(C_xx) / D)^-1 C_xy``; the bias is free.

    It minimises ``mean ||W x + b - y||^2 + penalty ||W||^2``, where the penalty is the share ``shrinkage`` of the mean variance of the
    inputs, so that their scale does not matter, or of another ``variance``.
    """
    size, covariance = moments.inputs, moments.covariance
    penalty = shrinkage * (moments.variance if variance is None else variance)
    return _centred(moments, _solve(covariance[:size, :size], covariance[:size, size:], penalty), moments.mean[size:])


def lda(moments: Moments, shrinkage: float) -> Affine:
    """Linear discriminant analysis of targets that are shares of classes: log posteriors up to what all classes have in common.

    The covariance within the classes is ``(1 - shrinkage) S + shrinkage tr(S) / D``, where the trace is at least a millionth of that of
    the whole covariance: there may be no variation within. A class without examples is never the likeliest.

    Args:
        moments: Of inputs and of shares that sum to 1.
        shrinkage: From 0 to 1.
    """
    size, covariance, priors = moments.inputs, moments.covariance, moments.mean[moments.inputs:]
    known = priors > 0
    centres = covariance[:size, size:] / torch.where(known, priors, 1.)  # of the classes, less the mean of all
    whole = covariance[:size, :size]
    within = whole - centres * priors @ centres.T
    variance = torch.maximum(within.diagonal().mean(), 1e-6 * moments.variance)
    weight = _solve((1 - shrinkage) * within, centres, shrinkage * variance)
    bias = torch.where(known, priors.log() - (weight * centres).sum(0) / 2, NEVER)
    return _centred(moments, weight, bias)


def _solve(matrix: Tensor, right: Tensor, penalty: Tensor) -> Tensor:
    """``(matrix + penalty)^-1 right``, also where no input varies and what is asked for is 0."""
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return vectors @ (vectors.T @ right / (eigenvalues.clamp(min=0) + penalty.clamp(min=TINY))[:, None])


def _centred(moments: Moments, weight: Tensor, bias: Tensor) -> Affine:
    return Affine(weight.T, bias - moments.mean[:moments.inputs] @ weight)


def determination(moments: Moments, model: Affine) -> Tensor:
    """Coefficients of determination R^2 ``(K,)``: shares of the targets' variances that a model explains; 0 for their means."""
    return 1 - moments.squared_errors(model) / moments.covariance.diagonal()[moments.inputs:]


class Principal(NamedTuple):
    """Scaling to unit variance, and then the directions of largest variance; float64.

    Attributes:
        mean: ``(D,)``.
        scale: ``(D,)``, deviations; 1 of what is constant.
        directions: ``(k, D)``.
    """
    mean: Tensor
    scale: Tensor
    directions: Tensor

    @classmethod
    def of(cls, moments: Moments, number: int) -> Principal:
        """As many directions as are asked for, or all that there are, of the inputs."""
        size, covariance = moments.inputs, moments.covariance[:moments.inputs, :moments.inputs]
        variances = covariance.diagonal()
        rounding = 10 * torch.finfo(variances.dtype).eps * (variances + moments.mean[:size]**2)
        scale = torch.where(variances > rounding, variances.clamp(min=0).sqrt(), 1.)
        vectors = torch.linalg.eigh(covariance / scale.outer(scale)).eigenvectors
        return cls(moments.mean[:size], scale, vectors.flip(1)[:, :number].T)

    def __call__(self, inputs: Tensor) -> Tensor:
        """``(..., k)`` of ``(..., D)``, in the precision of the inputs."""
        return ((inputs - self.mean.to(inputs)) / self.scale.to(inputs)) @ self.directions.T.to(inputs)
