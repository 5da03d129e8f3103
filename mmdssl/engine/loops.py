"""Training with exact resume, and protocols on frozen features."""
from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Literal

import numpy as np
import torch
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmdssl.arguments import NonNegativeInt, PositiveInt
from mmdssl.datasets.labelled_folder import require_classes
from mmdssl.engine.feature_cache import FeatureCache
from mmdssl.engine.replay import save_replay
from mmdssl.engine.sharding import whole
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError, NonFiniteLossError
from mmdssl.protocols.features import Extractor, Features, extract
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.protocols.propagation import PRECISIONS
from mmdssl.registry import LOOPS, METRICS


@LOOPS.register_module()
class TrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which a resumed run continues exactly, also in the middle of an epoch.

    Two things make it exact: the sampler skips what the epoch has already seen, and torch's generators are seeded
    anew before every iteration, so that dropout does not depend on what was drawn earlier. A loss that is not finite
    stops the run before the optimizer step and leaves a file that replays the step
    (:func:`mmdssl.engine.replay.replay`).

    Args:
        runner: The runner.
        dataloader: Config of the training data.
        max_epochs: Epochs of the whole run.
        val_begin: First epoch that is followed by validation.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: MMEngine's.
        val_before_train: Validate the weights before the first step too, logged as epoch 0.

    Raises:
        InputError: There are fewer images than one batch; or, when it runs, the checkpoint is of a run of another
            length, or the loss is not finite.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, max_epochs: PositiveInt,
                 val_begin: NonNegativeInt = 1, val_interval: PositiveInt = 1,
                 dynamic_intervals: list[tuple[NonNegativeInt, PositiveInt]] | None = None, val_before_train: bool = False):
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        if not len(self.dataloader):
            raise InputError(f'the training data has {len(self.dataloader.dataset)} images, fewer than one batch of '
                             f'{self.dataloader.batch_sampler.batch_size} on each of {runner.world_size} processes: '
                             'lower train_dataloader.batch_size or add images')
        self.val_before_train = val_before_train

    def run(self) -> nn.Module:
        if self._iter > 0:
            self._check_length()
        return super().run()

    def _check_length(self) -> None:
        """The message hub still holds the lengths of the run that wrote the checkpoint."""
        hub = self.runner.message_hub
        was = hub.get_info('max_epochs'), hub.get_info('max_iters')
        now = self.max_epochs, self.max_iters
        if was != now:
            raise InputError('the checkpoint belongs to a run of {} epochs and {} iterations, but this one has {} and '
                             '{}: resume with the same data, epochs, batch size and number of processes, or start a '
                             'new run from its weights with load_from'.format(*was, *now))

    def run_epoch(self) -> None:
        if self._iter == 0 and self.val_before_train and self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        for idx, data_batch in enumerate(self._batches(done), start=done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches(self, done: int):
        """The batches of the epoch after the first ``done``."""
        sampler = self.dataloader.sampler
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(self._epoch)
        if done and hasattr(sampler, 'skip'):
            sampler.skip(done * self.dataloader.batch_size)
            return self.dataloader
        return islice(self.dataloader, done, None)

    def run_iter(self, idx: int, data_batch) -> None:
        seed = step_seed(self.runner.seed, self._iter, self.runner.rank)
        torch.manual_seed(seed)
        buffers = {name: buffer.clone() for name, buffer in unwrap(self.runner.model).named_buffers()}
        try:
            super().run_iter(idx, data_batch)
        except NonFiniteLossError:
            path = save_replay(self.runner, data_batch, seed, buffers)
            raise InputError(f'the loss is not finite in iteration {self._iter}, so the run was stopped before this step changed the '
                             f"weights: look at it with mmdssl.engine.replay.replay('{path}'), then lower the "
                             'learning rate or resume from the last checkpoint') from None


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """A 64-bit seed of its own for every iteration of every process."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)[0])


@LOOPS.register_module(name=['ProtocolLoop', 'KNNLoop'])
class ProtocolLoop(BaseLoop):
    """Validation or test by protocols on frozen features: what do those of a labelled bank say of the queries?

    Features are those of ``model.backbone``. Every process computes a share of them, and is then given all; of patches, whose protocols
    are given :class:`mmdssl.protocols.patches.PatchFeatures`, its share alone.

    Args:
        runner: The runner.
        dataloader: Config of the queries (``val_dataloader`` or ``test_dataloader``): a :class:`mmdssl.datasets.LabelledFolder`.
            Sampler and collate function may be left out. For protocols on patches a :class:`mmdssl.datasets.SegmentedImages`.
        evaluator: Config of the protocol (``val_evaluator`` or ``test_evaluator``), for instance
            :class:`mmdssl.protocols.knn.KNNMetric`; or a list of several, whose metrics are put together. One without an ``extractor``
            is given the backbone, one with ``uses_bank = False`` no bank.
        bank: Config of a dataloader, as ``dataloader``, of the images with which queries are compared, or from which is learnt.
        dense: For protocols that read patches other data than for the rest: configs of dataloaders ``queries`` and ``bank``, each of a
            :class:`mmdssl.datasets.SegmentedImages`.
        cache: Folder where features are kept for other protocols, see :class:`mmdssl.engine.feature_cache.FeatureCache`; None for none.
        amp: ``'bf16'`` or ``'fp16'`` for a backbone in mixed precision.

    Raises:
        InputError: The two have different classes, or of masks another order of them, or a single one, the bank has fewer images than
            the protocol needs, or the backbone has no ``features(images)``.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: dict | list[dict], bank: dict, dense: dict[str, dict] | None = None,
                 cache: str | None = None, amp: Literal[tuple(PRECISIONS)] | None = None):
        backbone = unwrap(runner.model).backbone
        if not hasattr(backbone, 'features'):
            raise InputError('protocols need a backbone with features(images), of images or of their patches, and '
                             f'{type(backbone).__name__} has none: add it, or set val_cfg, val_dataloader and val_evaluator to None')
        in_order = dict(sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
        super().__init__(runner, {**in_order, **dataloader})
        self.bank = runner.build_dataloader({**in_order, **bank}, seed=runner.seed)
        self.settings = {self.bank: bank['dataset'], self.dataloader: dataloader['dataset']}
        self.dense = self.bank, self.dataloader
        if dense is not None:
            self.dense = tuple(runner.build_dataloader({**in_order, **dense[part]}, seed=runner.seed) for part in ('bank', 'queries'))
            self.settings.update(zip(self.dense, (dense[part]['dataset'] for part in ('bank', 'queries'))))
        self.cache, self.amp = cache, amp
        self.protocols = [METRICS.build(each) for each in ([evaluator] if isinstance(evaluator, Mapping) else evaluator)]
        for protocol in self.protocols:
            if hasattr(protocol, 'check_bank'):
                protocol.check_bank(len(self._data(protocol.extractor)[0].dataset))
        for pair in dict.fromkeys([(self.bank, self.dataloader), self.dense]):
            self._check_classes(*(loader.dataset for loader in reversed(pair)))

    @staticmethod
    def _check_classes(queries: Dataset, bank: Dataset) -> None:
        lacking = [f'{who} {", ".join(sorted(lost)[:5])}' for who, lost in (
            ('the bank lacks', set(queries.classes) - set(bank.classes)),
            ('the queries lack', set(bank.classes) - set(queries.classes))) if lost]
        if lacking:
            raise InputError(f"the classes of the queries '{queries.data_root}' and of the bank '{bank.data_root}' differ "
                             f'({"; ".join(lacking)}): point both at parts of the same data set')
        if hasattr(queries, 'read_mask') and list(queries.classes) != list(bank.classes):  # whose masks count through them
            first = next(pair for pair in zip(queries.classes, bank.classes) if pair[0] != pair[1])
            raise InputError(f"the classes of the queries '{queries.data_root}' and of the bank '{bank.data_root}' are in another order "
                             f"('{first[0]}' is '{first[1]}' in the bank): give both the same list")
        require_classes(bank)

    def run(self) -> dict[str, float]:
        with whole(self.runner):
            return self._run()

    def _run(self) -> dict[str, float]:
        stage = 'test' if self.runner._test_loop is self else 'val'
        self.runner.call_hook(f'before_{stage}')
        self.runner.call_hook(f'before_{stage}_epoch')
        self.runner.model.eval()
        metrics: dict[str, float] = {}
        for extractor in dict.fromkeys(getattr(protocol, 'extractor', None) for protocol in self.protocols):
            alike = [protocol for protocol in self.protocols if getattr(protocol, 'extractor', None) == extractor]
            if extractor is None:
                measured = [unwrap(self.runner.model).backbone]
            else:
                measured = self._features(extractor, any(getattr(protocol, 'uses_bank', True) for protocol in alike))
            for protocol in alike:
                metrics.update(protocol(*measured))
            for each in measured:
                if isinstance(each, PatchFeatures):
                    each.warn_of_unreadable()
        self.runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{stage}')
        return metrics

    def _features(self, extractor: Extractor, with_bank: bool) -> list[Features | PatchFeatures | None]:
        """Of the bank, None where it is not wanted, and of the queries."""
        model = unwrap(self.runner.model)
        cache = None if self.cache is None else FeatureCache(self.cache, model, self.runner.cfg.model, self.amp)

        def read(loader: DataLoader) -> Features | PatchFeatures:
            known = None if cache is None else cache.read(loader, self.settings[loader], extractor)
            asked = model.backbone, loader, extractor, model.data_preprocessor.normalise, self.amp
            if extractor.read == 'patches':
                return PatchFeatures(*asked, kept=known)
            return extract(*asked) if known is None else known
        bank, queries = self._data(extractor)
        return [read(bank) if with_bank else None, read(queries)]

    def _data(self, extractor: Extractor) -> tuple[DataLoader, DataLoader]:
        """Bank and queries."""
        return self.dense if extractor.read == 'patches' else (self.bank, self.dataloader)
