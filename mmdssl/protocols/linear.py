"""Linear probing: many linear classifiers of one frozen backbone, trained side by side."""
from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn

from mmdssl.arguments import NonEmpty, NonNegative, NonNegativeInt, Positive, PositiveInt, Share
from mmdssl.datasets.views import Views
from mmdssl.errors import InputError
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.protocols.accuracy import rank_of_label
from mmdssl.protocols.features import Extractor, Features
from mmdssl.registry import METRICS, MODELS
from mmdssl.schedules import Progress, cosine

Rates = Annotated[Sequence[Positive], NonEmpty]
Decays = Annotated[Sequence[NonNegative], NonEmpty]


class Head(NamedTuple):
    """What one classifier is trained with.

    Attributes:
        lr: Learning rate, for 256 images per step.
        weight_decay: Of weight and bias.
        norm: Batch normalisation without parameters before it.
    """
    lr: float
    weight_decay: float = 0.
    norm: bool = False


def heads_of(rates: Sequence[float], weight_decays: Sequence[float], norm: bool | Sequence[bool]) -> list[Head]:
    """All combinations; those with normalisation come last."""
    norms = [norm] if isinstance(norm, bool) else sorted(norm)
    return [Head(lr, decay, normed) for normed, decay, lr in product(norms, weight_decays, rates)]


class LinearHeads(nn.Module):
    """Linear classifiers of the same features, which know nothing of each other.

    All start from the same weights, so that they differ in their settings alone, and one is what it would be without the others.

    Args:
        width: Of the features.
        num_classes: Classes.
        settings: One for each classifier; those with normalisation come last.
        std: Of the initial weights, normal; biases start at 0.
    """

    def __init__(self, width: int, num_classes: int, settings: Sequence[Head], std: float = 0.01):
        super().__init__()
        self.settings = list(settings)
        first = nn.Linear(width, num_classes)
        nn.init.normal_(first.weight, std=std)
        nn.init.zeros_(first.bias)
        self.linear = nn.ModuleList(copy.deepcopy(first) for _ in self.settings)
        self.plain = sum(not head.norm for head in self.settings)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6) if self.plain < len(self.settings) else None

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, D)`` to the logits of all classifiers ``(B, H, K)``."""
        logits = []
        if self.plain:
            logits.append(_side_by_side(self.linear[:self.plain], features))
        if self.norm is not None:
            logits.append(_side_by_side(self.linear[self.plain:], self.norm(features)))
        return torch.cat(logits, dim=1)

    def parameter_groups(self) -> list[dict]:
        """One for each classifier, for any optimizer."""
        return [dict(params=list(linear.parameters()), lr=head.lr, weight_decay=head.weight_decay)
                for linear, head in zip(self.linear, self.settings)]


def _side_by_side(linear: Sequence[nn.Linear], features: Tensor) -> Tensor:
    """One matrix product for all."""
    weight, bias = (torch.cat([getattr(each, name) for each in linear]) for name in ('weight', 'bias'))
    return F.linear(features, weight, bias).unflatten(1, (len(linear), -1))


def head_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy ``(H,)`` of each classifier."""
    return F.cross_entropy(logits.movedim(1, -1), labels[:, None].expand(-1, logits.shape[1]), reduction='none').mean(0)


def total(losses: Tensor) -> Tensor:
    """The sum, whose gradient is for each classifier that of its own loss; one that diverged is left to itself, unless all did."""
    finite = losses.isfinite()
    return torch.where(finite, losses, 0).sum() + torch.where(finite.any(), 0., torch.nan)


def best_of(accuracy: Mapping[str, Sequence[float]], settings: Sequence[Head]) -> dict[str, float]:
    """Of the classifiers' accuracies by name those of the one with the best top-1, and what it was trained with: of ``head_lr``,
    ``head_weight_decay`` and ``head_norm`` those that differ between the classifiers."""
    top1 = list(accuracy['top1'])
    best = top1.index(max(top1))
    chosen = {name: values[best] for name, values in accuracy.items()}
    for name, values in zip(Head._fields, zip(*settings)):
        if len(set(values)) > 1:
            chosen[f'head_{name}'] = float(values[best])
    return chosen


@MODELS.register_module()
class LinearProbe(Algorithm):
    """A frozen backbone, in eval mode, and linear classifiers of its features of augmented images.

    Views: ``global`` (one), with labels. There is a classifier for each combination of ``rates``, ``weight_decays`` and ``norm``, all of
    one forward pass of the backbone; evaluations report the one that is best on the queries, as the papers do (iBOT), and its settings.
    The optimizer is built with ``constructor='OptimWrapperConstructor'``, which takes each classifier's rate and decay from here, and not
    from the optimizer's config.

    Args:
        backbone: Config of the backbone; ``init_cfg`` loads its weights.
        num_classes: Classes.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors.
        rates: Learning rates for 256 images per step (``auto_scale_lr`` scales them).
        weight_decays: Of weights and biases.
        norm: Normalise the features by batch statistics without parameters; with a list such as ``(False, True)`` classifiers of both
            kinds.
        std: Of the initial weights.
        data_preprocessor: Config; the default normalises with ImageNet's statistics.
        init_cfg: MMEngine's.

    Raises:
        InputError: The extractor reads what the backbone has not, or no vectors.
    """

    def __init__(self, backbone: dict, num_classes: PositiveInt, extractor: dict | None = None, rates: Rates = (0.001, ),
                 weight_decays: Decays = (0., ), norm: bool | Annotated[Sequence[bool], NonEmpty] = False, std: NonNegative = 0.01,
                 data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.num_classes = num_classes
        self.extractor = Extractor.of(extractor)
        self.backbone = MODELS.build(backbone).requires_grad_(False).eval()
        self.heads = LinearHeads(feature_width(self.backbone, self.extractor), num_classes, heads_of(rates, weight_decays, norm), std)

    def train(self, mode: bool = True) -> LinearProbe:
        super().train(mode)
        self.backbone.eval()
        return self

    def parameter_groups(self) -> list[dict]:
        return self.heads.parameter_groups()

    def scores(self, images: Tensor) -> Tensor:
        """Logits ``(B, H, K)`` of normalised images."""
        with torch.no_grad():
            features = self.extractor(self.backbone, images).float()
        with torch.autocast(features.device.type, enabled=False):
            return self.heads(features)

    def loss(self, views: Views) -> dict[str, Tensor]:
        """``loss_cls``: the sum of the classifiers' cross-entropies; ``least``: the smallest of them."""
        self.check(views, ['global'])
        losses = head_losses(self.scores(views['global'].images[0]), views.labels)
        return dict(loss_cls=total(losses), least=losses.detach().min())

    def summary(self, accuracy: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """What is reported of the classifiers' accuracies."""
        return best_of(accuracy, self.heads.settings)


def feature_width(backbone: nn.Module, extractor: Extractor, size: int = 224) -> int:
    """Width of what an extractor reads, by a copy of the backbone without data.

    Raises:
        InputError: It reads patches, or what the backbone has not.
    """
    sketch = copy.deepcopy(backbone).to('meta')
    features = extractor(sketch, torch.empty(1, 3, size, size, device='meta'))
    if features.ndim != 2:
        raise InputError(f"a linear classifier needs a vector per image, and the extractor reads '{extractor.read}': set its read to "
                         "'class', 'mean', 'class+mean' or 'pooled'")
    return features.shape[1]


def train_heads(heads: LinearHeads, features: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, epochs: int, batch_size: int,
                momentum: float = 0.9, seed: int = 0) -> Tensor:
    """SGD on features that are there already, along a cosine to 0 by epoch.

    Rates are scaled by ``batch_size / 256``. The order of the images is that of the seed, whatever the heads.

    Args:
        heads: The classifiers, on the device where to compute; they are trained in place.
        features: Of the bank, ``(n, D)``, anywhere.
        labels: Their classes ``(n,)``.
        queries: ``(m, D)``.
        truth: Their classes ``(m,)``.
        epochs: Number of epochs.
        batch_size: Images per step; the last few that fill no batch wait for the next epoch, unless there are no more.
        momentum: Of SGD.
        seed: Of the order.

    Returns:
        Top-1 and top-5 of the queries after each epoch in percent, ``(epochs, H, 2)``.
    """
    device = heads.linear[0].weight.device
    batch_size = min(batch_size, len(features))
    groups = [dict(group, lr=group['lr'] * batch_size / 256) for group in heads.parameter_groups()]
    peaks = [group['lr'] for group in groups]
    optimizer = torch.optim.SGD(groups, momentum=momentum)
    order, found = torch.Generator().manual_seed(seed), []
    for epoch in range(epochs):
        for group, peak in zip(optimizer.param_groups, peaks):
            group['lr'] = cosine(peak, 0., Progress(epoch, epochs, epoch, epochs))
        heads.train()
        chosen = torch.randperm(len(features), generator=order)
        for some in chosen[:len(chosen) - len(chosen) % batch_size].to(features.device).split(batch_size):
            loss = total(head_losses(heads(features[some].to(device).float()), labels[some].to(device)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        heads.eval()
        with torch.no_grad():
            ranks = torch.cat([rank_of_label(heads(part.to(device).float()), theirs.to(device))
                               for part, theirs in zip(queries.split(batch_size), truth.split(batch_size))])
        found.append(torch.stack([100 * (ranks < top).double().mean(0) for top in (1, 5)], dim=-1))
    return torch.stack(found)


@METRICS.register_module()
class LinearMetric:
    """Linear classifiers of features without augmentation, the cheap relative of :class:`LinearProbe`; percent.

    ``linear_top1`` and ``linear_top5`` are those of the best classifier after the last epoch, ``linear_head_lr`` is its learning rate for
    256 images; ``linear_best_top1``, ``linear_best_epoch`` and ``linear_best_head_lr`` of the best in any epoch. Both are chosen on the
    queries, as in the papers. Each process trains a share of the classifiers.

    Args:
        rates: Learning rates for 256 images per step.
        weight_decays: Of weights and biases.
        norm: Batch normalisation without parameters first, which makes rates fit features of any size (MAE, BAM).
        epochs: Number of epochs.
        batch_size: Images per step, or all where there are fewer.
        momentum: Of SGD.
        seed: Of initial weights and order.
        extractor: What is read of the backbone, the arguments of :class:`mmdssl.protocols.features.Extractor`; vectors.

    Raises:
        InputError: When called: there are patches instead of vectors.
    """

    def __init__(self, rates: Rates = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.), weight_decays: Decays = (0., ),
                 norm: bool | Annotated[Sequence[bool], NonEmpty] = True, epochs: PositiveInt = 50, batch_size: PositiveInt = 256,
                 momentum: Share = 0.9, seed: NonNegativeInt = 0, extractor: Mapping | Extractor | None = None):
        self.settings = heads_of(rates, weight_decays, norm)
        self.epochs = epochs
        self.batch_size = batch_size
        self.momentum = momentum
        self.seed = seed
        self.extractor = Extractor.of(extractor)

    def __call__(self, bank: Features, queries: Features) -> dict[str, float]:
        """All processes are given the same features."""
        if bank.values.ndim != 2:
            raise InputError('LinearMetric needs a vector per image, and its extractor reads patches: set its read to '
                             "'class', 'mean', 'class+mean' or 'pooled'")
        rank, processes = get_dist_info()
        accuracy = torch.zeros(self.epochs, len(self.settings), 2, dtype=torch.float64, device=get_device())
        mine = range(rank, len(self.settings), processes)
        if len(mine):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                heads = LinearHeads(bank.values.shape[1], len(bank.classes), [self.settings[i] for i in mine]).to(get_device())
            accuracy[:, mine] = train_heads(heads, bank.values, bank.labels, queries.values, queries.labels, self.epochs, self.batch_size,
                                            self.momentum, self.seed)
        all_reduce(accuracy)
        return self._metrics(accuracy, len(bank.classes))

    def _metrics(self, accuracy: Tensor, num_classes: int) -> dict[str, float]:
        last = best_of(_named(accuracy[-1], num_classes), self.settings)
        epoch = int(accuracy[..., 0].amax(1).argmax())
        best = best_of(_named(accuracy[epoch], num_classes), self.settings)
        best = {name: value for name, value in best.items() if name != 'top5'}
        return {f'linear_{name}': value for name, value in last.items()} | {'linear_best_epoch': epoch + 1} | {
            f'linear_best_{name}': value for name, value in best.items()}


def _named(accuracy: Tensor, num_classes: int) -> dict[str, list[float]]:
    return {f'top{top}': column for top, column in zip((1, 5), accuracy.T.tolist()) if top == 1 or num_classes >= 5}
