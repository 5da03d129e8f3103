"""Multinomial logistic regression on frozen features, fitted to its optimum with L-BFGS, as BYOL, SimCLR and BAM transfer.

Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019; Chen et al., "A Simple Framework for Contrastive Learning of
Visual Representations", ICML 2020, App. B.8.
"""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_dist_info
from mmengine.logging import print_log
from scipy.optimize import minimize
from torch import Tensor

from mmdssl.arguments import NonEmpty, Positive, PositiveInt, Range
from mmdssl.datasets.transfer import DIFFICULT, PRESENT
from mmdssl.errors import InputError
from mmdssl.protocols.accuracy import mean_accuracy, rank_of_label
from mmdssl.protocols.features import Extractor, Features
from mmdssl.registry import METRICS

BETWEEN = Range('above 0 and below 1', lambda share: 0 < share < 1)
PENALTIES = tuple(np.logspace(5, -6, 45).tolist())
CHUNK = 8192  # images at a time


class Classifier(NamedTuple):
    """A linear classifier, float64.

    Attributes:
        weight: ``(K, D)``.
        bias: ``(K,)``.
        converged: Whether the optimum was reached within the iterations.
    """
    weight: Tensor
    bias: Tensor
    converged: bool = True

    def scores(self, features: Tensor) -> Tensor:
        """Logits ``(n, K)`` float64 of features ``(n, D)``, which may be elsewhere."""
        return torch.cat([torch.addmm(self.bias, some.to(self.weight), self.weight.T) for some in features.split(CHUNK)])


class LogisticProblem:
    """``mean cross entropy + penalty / 2 * ||W||^2`` of some labelled features; the bias is free.

    In scikit-learn's terms ``C = 1 / (n * penalty)``. Labels of several classes make a problem for each class, one against the rest,
    all with the same penalty. Every process is given the same features and holds a share of them.

    L-BFGS sees it in coordinates in which its Hessian is about the identity where it begins, averaged over the classes: the optimum is
    the same, and is reached in a tenth of the steps or fewer.

    Args:
        features: ``(n, D)``.
        labels: ``(n,)`` from 0 below ``num_classes``, or ``(n, K)`` of ``ABSENT``, ``PRESENT`` and ``DIFFICULT``, which is not counted.
        num_classes: K.
        device: Where to compute; by default where the features are.
    """

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int, device: torch.device | str | None = None):
        rank, processes = get_dist_info()
        device = features.device if device is None else device
        self.features, self.labels = (given[rank::processes].to(device) for given in (features, labels))
        self.size, self.num_classes, self.single = len(features), num_classes, labels.dim() == 1
        counted = torch.ones_like(labels, dtype=torch.bool) if self.single else labels != DIFFICULT
        self.counted = counted.sum(0).clamp(min=1).to(device, torch.float64)  # images, of each class where there are several

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for features, labels in zip(self.features.split(CHUNK), self.labels.split(CHUNK)):
            yield features.double(), labels

    def _coordinates(self, start: Classifier, penalty: float) -> Coordinates:
        """Those of the Hessian at a classifier, averaged over the classes."""
        dim = self.features.shape[1]
        total = torch.zeros(1 + dim + dim**2, dtype=torch.float64, device=self.features.device)
        for features, _ in self._chunks():
            logits = torch.addmm(start.bias, features, start.weight.T)
            probable = logits.softmax(1) if self.single else logits.sigmoid()
            curvatures = (probable * (1 - probable)).mean(1) / self.size
            total[:1] += curvatures.sum()
            total[1:1 + dim] += curvatures @ features
            total[1 + dim:] += (features.T @ (features * curvatures[:, None])).flatten()
        all_reduce(total)
        of_bias = total[0].clamp(min=torch.finfo(total.dtype).tiny)
        mean = total[1:1 + dim] / of_bias
        curvatures, directions = torch.linalg.eigh(total[1 + dim:].view(dim, dim) - of_bias * mean.outer(mean))
        return Coordinates(mean, directions * (curvatures.clamp(min=0) + penalty).rsqrt(), of_bias.rsqrt())

    def objective(self, weight: Tensor, bias: Tensor, penalty: float) -> tuple[float, Tensor, Tensor]:
        """The objective and its gradients by weight ``(K, D)`` and bias ``(K,)``; the same on every process."""
        parts = torch.cat([weight.new_zeros(1), torch.zeros_like(bias), torch.zeros_like(weight).flatten()])
        loss, by_bias, by_weight = parts[:1], parts[1:1 + len(bias)], parts[1 + len(bias):].view_as(weight)
        for features, labels in self._chunks():
            logits = torch.addmm(bias, features, weight.T)
            losses, slopes = self._single(logits, labels) if self.single else self._several(logits, labels)
            slopes /= self.counted
            loss += (losses / self.counted).sum()
            by_bias += slopes.sum(0)
            by_weight.addmm_(slopes.T, features)
        all_reduce(parts)
        return loss.item() + penalty / 2 * weight.square().sum().item(), by_weight + penalty * weight, by_bias

    @staticmethod
    def _single(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Losses, and their derivatives by the logits."""
        logs = logits.log_softmax(1)
        losses = -logs.gather(1, labels[:, None])
        slopes = logs.exp_()
        return losses, slopes.scatter_add_(1, labels[:, None], -torch.ones_like(losses))

    @staticmethod
    def _several(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        present, counted = (labels == PRESENT).double(), labels != DIFFICULT
        losses = F.binary_cross_entropy_with_logits(logits, present, reduction='none') * counted
        return losses, (logits.sigmoid() - present) * counted

    def fit(self, penalty: float, start: Classifier | None = None, max_iterations: int = 2000, tolerance: float = 1e-6) -> Classifier:
        """The optimum.

        Args:
            penalty: Of the squared weights.
            start: Where to begin, such as the optimum of a similar penalty; by default at zero.
            max_iterations: Of L-BFGS.
            tolerance: It has converged where no slope is larger.
        """
        if start is None:
            zeros = torch.zeros(self.num_classes, self.features.shape[1] + 1, dtype=torch.float64, device=self.features.device)
            start = Classifier(zeros[:, 1:], zeros[:, 0])
        coordinates = self._coordinates(start, penalty)

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, by_weight, by_bias = self.objective(*coordinates.classifier(flat, self.num_classes)[:2], penalty)
            return value, coordinates.slopes(by_weight, by_bias)

        found = minimize(evaluate, coordinates.flat(start), jac=True, method='L-BFGS-B', options=dict(
            maxiter=max_iterations, maxfun=2 * max_iterations, maxcor=20, gtol=tolerance, ftol=1e-15))
        return coordinates.classifier(found.x, self.num_classes)._replace(
            converged=found.success or bool(abs(found.jac).max() < 100 * tolerance))


class Coordinates(NamedTuple):
    """In which L-BFGS sees a classifier, ``[bias, weight]`` of a flat array: the bias at a mean, along directions that are scaled.

    Attributes:
        mean: ``(D,)``.
        directions: ``(D, D)``, a column each, orthogonal.
        bias_scale: A number.
    """
    mean: Tensor
    directions: Tensor
    bias_scale: Tensor

    def classifier(self, flat: np.ndarray, num_classes: int) -> Classifier:
        values = torch.from_numpy(flat).to(self.mean)
        weight = values[num_classes:].view(num_classes, -1) @ self.directions.T
        return Classifier(weight, values[:num_classes] * self.bias_scale - weight @ self.mean)

    def flat(self, classifier: Classifier) -> np.ndarray:
        inverse = self.directions / self.directions.square().sum(0)
        parts = (classifier.bias + classifier.weight @ self.mean) / self.bias_scale, (classifier.weight @ inverse).flatten()
        return torch.cat(parts).cpu().numpy()

    def slopes(self, by_weight: Tensor, by_bias: Tensor) -> np.ndarray:
        by_weight = (by_weight - by_bias.outer(self.mean)) @ self.directions
        return torch.cat([by_bias * self.bias_scale, by_weight.flatten()]).cpu().numpy()


def holdout(labels: Tensor, share: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices to train on and to validate on, sorted; about ``share`` of every class is for validation.

    A class of two or more images has at least one in each part. Where images have labels of several classes, it is a share of all.

    Args:
        labels: ``(n,)`` or ``(n, K)``.
        share: Between 0 and 1.
        seed: Of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    groups = labels.cpu() if labels.dim() == 1 else torch.zeros(len(labels), dtype=torch.long)
    validate = torch.zeros(len(labels), dtype=torch.bool)
    for group in groups.unique():
        members = (groups == group).nonzero().flatten()
        number = min(max(round(share * len(members)), 1), len(members) - 1)
        validate[members[torch.randperm(len(members), generator=draw)[:number]]] = True
    return (~validate).nonzero().flatten(), validate.nonzero().flatten()


def top1(scores: Tensor, labels: Tensor) -> float:
    """Percentage of images ``(n,)`` whose class has the highest of the scores ``(n, K)``."""
    return 100 * (scores.argmax(1) == labels).double().mean().item()


def mean_per_class(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes of the percentage of their images that are recognised; classes without images do not count."""
    return mean_accuracy(rank_of_label(scores[:, None], labels), labels, scores.shape[1])['class_top1'][0]


def map11(scores: Tensor, labels: Tensor) -> float:
    """VOC 2007's mean average precision in percent: of each class, the mean over recalls 0, 0.1 ... 1 of the best precision from there on.

    Args:
        scores: ``(n, K)``; of equal ones the image that comes first in the data ranks first.
        labels: ``(n, K)`` of ``ABSENT``, ``PRESENT`` and ``DIFFICULT``, images that do not count for the class. Classes without a
            present image do not count; without any it is NaN.
    """
    precisions = []
    for score, label in zip(scores.T, labels.T):
        counted = label != DIFFICULT
        hits = label[counted][score[counted].argsort(descending=True, stable=True)] == PRESENT
        found = hits.double().cumsum(0)
        if not hits.any():
            continue
        precision = found / torch.arange(1, len(found) + 1, device=found.device)
        # tenths as counts of positives, so that rounding cannot move a recall to the wrong side
        at_least = [10 * found >= tenth * found[-1] for tenth in range(11)]
        precisions.append(sum(precision[there].max().item() for there in at_least) / 11)
    return 100 * sum(precisions) / len(precisions) if precisions else math.nan


MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = dict(top1=top1, mean_per_class=mean_per_class, map11=map11)


class Choice(NamedTuple):
    """What a sweep over penalties found.

    Attributes:
        penalty: The best on the validation images, the largest of equally good ones.
        classifier: Fitted with it to the training images.
        scores: Of every penalty on the validation images.
    """
    penalty: float
    classifier: Classifier
    scores: list[float]


def sweep(train: LogisticProblem, features: Tensor, labels: Tensor, measure: Callable[[Tensor, Tensor], float],
          penalties: Sequence[float] = PENALTIES, max_iterations: int = 2000) -> Choice:
    """Fit one classifier for each penalty, from the largest on, each beginning where the one before ended, and choose.

    Args:
        train: What to fit.
        features: ``(m, D)`` of the validation images.
        labels: ``(m,)`` or ``(m, K)``.
        measure: Of scores and labels; higher is better.
        penalties: At least one.
        max_iterations: Of L-BFGS, for each.
    """
    best: Choice | None = None
    classifier, scores = None, []
    labels = labels.to(train.features.device)
    for penalty in sorted(penalties, reverse=True):
        classifier = train.fit(penalty, classifier, max_iterations)
        scores.append(measure(classifier.scores(features), labels))
        if best is None or scores[-1] > max(scores[:-1]):
            best = Choice(penalty, classifier, scores)
    return best


@METRICS.register_module()
class LogisticMetric:
    """Accuracy of logistic regression on frozen features, in percent.

    A classifier is fitted to the training images of the bank for each penalty; the one that is best on its validation images is fitted
    again, with the same penalty, to the whole bank, and tested once on the queries: ``logistic_top1`` and ``logistic_mean_per_class``,
    or ``logistic_map11`` where images have several classes; ``logistic_val`` is what the choice was made by,
    ``logistic_log10_penalty`` what it fell on.

    Args:
        measure: What the choice is made by: ``'top1'``; ``'mean_per_class'``, see :func:`mean_per_class`; or ``'map11'``, see
            :func:`map11`, for images of several classes.
        val: The bank's images for validation: a share that is drawn, see :func:`holdout`, or how their names begin where the data set
            has such a part.
        penalties: See :class:`LogisticProblem`.
        max_iterations: Of L-BFGS, for each penalty.
        seed: Of the draw.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors.

    Raises:
        InputError: When called: the bank has no image to train on or none to validate on, or the measure is not for its labels.
    """

    def __init__(self, measure: Literal[tuple(MEASURES)] = 'top1', val: Annotated[float, BETWEEN] | str = 0.2,
                 penalties: Annotated[Sequence[Positive], NonEmpty] = PENALTIES, max_iterations: PositiveInt = 2000, seed: int = 0,
                 extractor: Mapping | Extractor | None = None):
        self.measure = measure
        self.val = val
        self.penalties = penalties
        self.max_iterations = max_iterations
        self.seed = seed
        self.extractor = Extractor.of(extractor)

    def __call__(self, bank: Features, queries: Features) -> dict[str, float]:
        """All processes are given the same features; each computes the losses of a share of the bank."""
        device, num_classes = get_device(), len(bank.classes)
        if (self.measure == 'map11') != (bank.labels.ndim == 2):
            raise InputError(f"measure='{self.measure}' of LogisticMetric does not fit the data: map11 is for images of several classes, "
                             'the others are for images of one')
        train, val = self._parts(bank)
        problem = LogisticProblem(bank.values[train], bank.labels[train], num_classes, device)
        found = sweep(problem, bank.values[val], bank.labels[val], MEASURES[self.measure], self.penalties, self.max_iterations)
        whole = LogisticProblem(bank.values, bank.labels, num_classes, device)
        final = whole.fit(found.penalty, found.classifier, self.max_iterations)
        if not final.converged:
            print_log(f'logistic regression has not converged in {self.max_iterations} iterations: raise max_iterations of LogisticMetric',
                      'current', logging.WARNING)
        scores, truth = final.scores(queries.values), queries.labels.to(device)
        measures = ['map11'] if self.measure == 'map11' else ['top1', 'mean_per_class']
        return {**{f'logistic_{name}': MEASURES[name](scores, truth) for name in measures},
                'logistic_val': max(found.scores), 'logistic_log10_penalty': math.log10(found.penalty)}

    def _parts(self, bank: Features) -> tuple[Tensor, Tensor]:
        """Indices to train on and to validate on."""
        if isinstance(self.val, str):
            chosen = torch.tensor([name.startswith(self.val) for name in bank.names], dtype=torch.bool)
            parts = (~chosen).nonzero().flatten(), chosen.nonzero().flatten()
        else:
            parts = holdout(bank.labels, self.val, self.seed)
        if not all(map(len, parts)):
            raise InputError(f'of the {len(bank)} images of the bank {len(parts[0])} are to train on and {len(parts[1])} to validate on '
                             f'with val={self.val!r} of LogisticMetric: take more images, or name the part that is for validation')
        return parts[0].to(bank.labels.device), parts[1].to(bank.labels.device)
