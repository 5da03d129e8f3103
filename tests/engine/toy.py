"""A tiny self-supervised algorithm on random tensors, with all the engine must get right: dropout, a buffer, an EMA."""
from __future__ import annotations

import copy
import gc
import json
import os
import signal
from itertools import count
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from mmdssl.engine import Runner
from mmdssl.errors import InputError, Stopped
from mmdssl.models.algorithms.base import Algorithm
from mmdssl.registry import DATASETS, HOOKS, MODELS

RUNS = count()


@DATASETS.register_module()
class ToyDataset(Dataset):
    """``dataset[(seed, epoch, index)]``: a vector that depends on epoch and index alone."""
    metainfo = {}

    def __init__(self, length: int = 24, bad: int | None = None):
        self.length, self.bad = length, bad

    def __len__(self):
        return self.length

    def __getitem__(self, key):
        _, epoch, index = key
        vector = torch.randn(8, generator=torch.Generator().manual_seed(1000 * epoch + index))
        return vector * (float('nan') if index == self.bad and epoch > 0 else 1)


@MODELS.register_module()
class ToyPreprocessor(BaseDataPreprocessor):

    def forward(self, data, training=False):
        return dict(views=data)

    def normalise(self, images):
        return images.float() / 255


class ToyBackbone(nn.Sequential):

    def features(self, images):
        return self(images.flatten(1)[:, :8])


@MODELS.register_module()
class ToyAlgorithm(Algorithm):
    num_prototypes = 4

    def __init__(self, dropout: float = 0.5, width: int = 8):
        super().__init__(dict(type='ToyPreprocessor'))
        self.student = ToyBackbone(nn.Linear(8, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 4))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.register_buffer('center', torch.zeros(4))
        self.steps_taken = 0

    @property
    def backbone(self):
        return self.teacher

    def train(self, mode=True):
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(self, views):
        target = self.teacher(views) - self.center
        mean = target.mean(0).detach()
        all_reduce(mean, 'mean')
        self.center += 0.1 * (mean - self.center)
        student = self.student(views)
        self.remember_features(student)
        return dict(loss_cls=(student - target - views[:, :4]).square().mean(), entropy=target.square().mean())

    def after_step(self):
        self.steps_taken += 1
        torch._foreach_lerp_(list(self.teacher.parameters()), [p.data for p in self.student.parameters()], 0.1)

    def frozen_parameters(self):
        return [self.student[3].weight] if self.progress.epoch < 1 else []


class Killed(Exception):
    """Stands for whatever ends a process."""


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends this process, or one of several, signals in an iteration, or in the validation after it."""

    def __init__(self, at: int, numbers: tuple[int, ...] = (signal.SIGTERM, ), validation: bool = False, rank: int = 0):
        self.at, self.numbers, self.validation, self.rank = at, numbers, validation, rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.validation and runner.iter == self.at - 1:
            self._send(runner)

    def before_val(self, runner):
        if self.validation and runner.iter == self.at:
            self._send(runner)

    def _send(self, runner):
        for number in self.numbers if runner.rank == self.rank else ():
            os.kill(os.getpid(), number)


@HOOKS.register_module()
class KillHook(Hook):
    """Ends the run after so many iterations, before anything else can be saved."""
    priority = 'VERY_LOW'

    def __init__(self, after: int):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            raise Killed


def history(runner, name: str = 'loss') -> list[float]:
    """The values of every iteration."""
    return runner.message_hub.get_scalar(f'train/{name}').data[0].tolist()


def colour_folders(root: Path, classes: tuple[str, ...] = ('blue', 'green', 'red'), each: int = 4) -> Path:
    """Class folders ``train`` and ``val`` of 4 px images, each class of another brightness, with one damaged file."""
    for part in ('train', 'val'):
        for level, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(each):
                pixels = np.random.default_rng(i).integers(100 * level // 2, 100 * level // 2 + 30, (4, 4, 3), np.uint8)
                pixels[0, level] += 100
                Image.fromarray(pixels).save(folder / f'{i}.png')
        (root / part / classes[0] / 'damaged.png').write_bytes(b'none')
    return root


def knn_config(root: Path) -> dict:
    """Validation by k-NN on :func:`colour_folders`, to be merged into :func:`toy_config`."""
    def loader(part):
        return dict(batch_size=5, dataset=dict(type='LabelledFolder', data_root=str(root / part), resize=4, size=4))
    return {'val_dataloader': loader('val'), 'val_cfg': dict(type='ProtocolLoop', bank=loader('train')),
            'val_evaluator': dict(type='KNNMetric', k=(1, 3))}


def toy_config(work_dir: Path, **changes) -> Config:
    """Three epochs of 6 iterations; ``changes`` are merged in, keys with dots reach inside."""
    cfg = Config(dict(
        default_scope='mmdssl',
        model=dict(type='ToyAlgorithm'),
        train_dataloader=dict(dataset=dict(type='ToyDataset'), sampler=dict(type='EpochSampler'), batch_size=4,
                              collate_fn=dict(type='default_collate')),
        train_cfg=dict(type='TrainLoop', max_epochs=3),
        optim_wrapper=dict(type='OptimWrapper', constructor='OptimWrapperConstructor',
                           optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.04)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='AlgorithmHook')],
        log_processor=dict(type='LogProcessor'),
        randomness=dict(seed=0),
        experiment_name=f'toy{next(RUNS)}',  # MMEngine shares logs between runs of the same name
        work_dir=str(work_dir)))
    cfg.merge_from_dict(changes)
    return cfg


def train_as_rank(folder: Path, runs: dict[str, dict]) -> None:
    """One of several processes that train the toy together, by name with some changes.

    Leaves the losses, or the error, of each run in ``folder/name.rank``. A run whose name begins as that of one before and a dash
    is in its work dir.
    """
    for name, changes in runs.items():
        runner = Runner.from_cfg(toy_config(folder / name.partition('-')[0], launcher='pytorch', **changes))
        result = Path(folder, f'{name}.{runner.rank}')
        try:
            runner.train()
            result.write_text(json.dumps(history(runner)))
        except (InputError, Stopped) as error:
            result.write_text(str(error))
    del runner
    gc.collect()
    torch.distributed.destroy_process_group()
