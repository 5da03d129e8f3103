"""What a run would be like, before it is started."""
from __future__ import annotations

import copy
import os
import time
from contextlib import suppress
from itertools import islice
from statistics import median
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console
from rich.table import Table

from mmdssl.datasets.checks import left_out, plain_datasets
from mmdssl.datasets.samplers import EpochSampler
from mmdssl.engine.backbone import backbone_of
from mmdssl.engine.log_processor import peak_memory
from mmdssl.engine.precision import bf16_cost, in_words
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import NonFiniteLossError
from mmdssl.models.algorithms.beit import is_missing
from mmdssl.registry import RUNNERS

LOADED_IMAGES = 16
STEP_SECONDS = 5.  # of a step on a CPU, which has at least
FEWEST = 2  # images, for batch normalisation
TIMED_SECONDS = 10.  # of all steps that are timed
TIMED_STEPS = 2, 20  # their least and largest number


def dry_run(cfg: Config) -> None:
    """Build everything a config names, train for some steps, print a table and leave nothing behind.

    Steps are timed from the end of the first one, for ten seconds, so waiting for data counts; their median is what a step takes.
    Batches may have been prefetched, so loading a few images in this process is timed too, and the slower of the two sets the pace.
    On a CPU, a step that would take long has fewer images than the config's, and the table says how many; what the others would take
    follows from a step with fewer still.
    """
    cfg = copy.deepcopy(cfg)
    cfg.log_level = 'ERROR'
    cfg.visualizer = None
    if 'val_before_train' in cfg.train_cfg:
        cfg.train_cfg.val_before_train = False
    tokenizer = cfg.model.get('tokenizer') or {}
    checkpoint = (tokenizer.get('init_cfg') or {}).get('checkpoint')
    to_come = checkpoint if checkpoint and is_missing(checkpoint) else None
    if to_come:  # another run makes it, and the table does not depend on it
        tokenizer.init_cfg = dict(type='Kaiming', layer='Conv2d')
    clock = _Clock()
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = RUNNERS.build(cfg)
        runner.register_hook(clock)
        with suppress(_Enough):
            runner.train()
        clock.restore(runner)
        runner.visualizer.close()
        for handler in runner.logger.handlers:
            handler.close()
    if is_main_process():
        table = _table(runner, clock.step, clock.loading, clock.images)
        if to_come:
            table.add_row('to do first', f'train the tokenizer: {to_come} is not there')
        Console().print(table)


class _Enough(Exception):
    """Enough steps have been taken."""


class _Clock(Hook):
    """Times loading and steps.

    Attributes:
        loading: Seconds in which a process loads an image.
        images: Of each process, in the steps that are timed.
        step: Seconds of a step with all the images of the config.
    """
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if isinstance(loader.sampler, EpochSampler):
            keys = list(islice(loader.sampler, LOADED_IMAGES))
        else:  # reading from an infinite sampler would end it
            keys = list(range(min(LOADED_IMAGES, len(loader.dataset))))
        loader.dataset[keys[0]]  # the first one imports decoders, too
        start = time.perf_counter()
        samples = [loader.dataset[key] for key in keys]
        self.loading = (time.perf_counter() - start) / len(keys)
        self._batch = self.images = loader.batch_sampler.batch_size
        self._few: tuple[int, float] | None = None
        if not torch.cuda.is_available() and self._batch > FEWEST <= len(samples):
            self._shrink(runner, samples[:FEWEST])
        self._steps: list[float] = []
        self._wanted = 0 if self._few and self._few[1] > STEP_SECONDS else TIMED_STEPS[0]
        self._last = time.perf_counter()

    def _shrink(self, runner: Runner, samples: list) -> None:
        """Make batches of as many images as a CPU trains on in :data:`STEP_SECONDS`; a step with a few tells how long that takes."""
        loader = runner.train_dataloader
        for _ in range(2):  # the first one makes kernels and the optimizer's moments
            start = time.perf_counter()
            with suppress(NonFiniteLossError):  # the loop will say so
                runner.model.train().train_step(loader.collate_fn(samples), optim_wrapper=runner.optim_wrapper)
            seconds = _slowest(time.perf_counter() - start)
            if seconds > STEP_SECONDS:
                break
        self._few = len(samples), seconds
        self.images = loader.batch_sampler.batch_size = _in_time(*self._few, self._batch)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self._last = now
        if self._wanted and len(self._steps) == TIMED_STEPS[0]:
            self._wanted = min(max(int(TIMED_SECONDS / _slowest(self._steps[-1])), TIMED_STEPS[0]), TIMED_STEPS[1])
        if len(self._steps) > self._wanted:
            raise _Enough

    def before_val(self, runner: Runner) -> None:
        raise _Enough  # the epoch has few steps

    @property
    def step(self) -> float:
        timed = median(self._steps[1:] or self._steps)
        return timed if self._few is None else _with_all(*self._few, self.images, timed, self._batch)

    def restore(self, runner: Runner) -> None:
        runner.train_dataloader.batch_sampler.batch_size = self._batch


def _slowest(seconds: float) -> float:
    """The most of all processes, which must agree on what follows from it."""
    most = torch.tensor(seconds, device=get_device())
    all_reduce(most, 'max')
    return max(most.item(), 1e-9)


def _with_all(few: int, with_few: float, images: int, with_images: float, batch: int) -> float:
    """Seconds of a step with a whole batch, of the times of steps with less: a part that every step has, and one for each image."""
    each = with_images / images
    if images >= 2 * few:
        each = min(max((with_images - with_few) / (images - few), 0.), each)
    return with_images + each * (batch - images)


def _in_time(few: int, seconds: float, batch: int) -> int:
    """As many images of a batch as are trained on in :data:`STEP_SECONDS`, when a few take some seconds; an even number of an even one."""
    images = min(max(int(few * STEP_SECONDS / seconds), few), batch)
    return images if batch % 2 else images - images % 2  # which mixup needs, as it pairs them


def _table(runner: Runner, step: float, loading: float, images: int) -> Table:
    """
    Args:
        runner: After training.
        step: Seconds of a step with all its images.
        loading: Seconds that a process needs to load an image.
        images: Of each process, in the steps that were timed.
    """
    model, loader = unwrap(runner.model), runner.train_dataloader
    batch = loader.batch_sampler.batch_size
    cores = max(1, os.cpu_count() // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
    data = loading * batch / max(min(loader.num_workers, cores), 1)
    network = step if loader.num_workers else step - data
    seconds = max(step, data)
    table = Table(title=f'{type(model).__name__}, {runner.cfg.filename}', show_header=False)
    table.add_row('trained parameters', _count(p for p in model.parameters() if p.requires_grad))
    table.add_row('parameters of the backbone', _count(backbone_of(model).parameters()))
    table.add_row('training images', f'{len(loader.dataset):,}')
    for plain in plain_datasets(loader.dataset):
        for said in left_out(plain):
            table.add_row('', said)
    if hasattr(runner.val_loop, 'bank'):
        table.add_row('k-NN: bank, queries',
                      f'{len(runner.val_loop.bank.dataset):,}, {len(runner.val_dataloader.dataset):,}')
    table.add_row('global batch', f'{runner.global_batch_size} image{"s" * (runner.global_batch_size > 1)}')
    cost = bf16_cost(model, runner.optim_wrapper)
    if cost is not None:
        table.add_row('mixed precision', in_words(cost))
    group = runner.optim_wrapper.param_groups[-1]
    table.add_row('learning rate (highest)', f'{group.get("initial_lr", group["lr"]):.3g}')
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    table.add_row(*(('epochs x iterations', f'{runner.max_epochs} x {len(loader)}') if by_epoch else
                    ('iterations', f'{runner.max_iters:,}')))
    fewer = f', with {images} of its {batch} images' if images < batch else ''
    table.add_row('peak memory', f'{peak_memory():,} MiB per process{fewer}')
    speed = batch * runner.world_size / seconds
    table.add_row('speed', f'{speed:.{1 if speed >= 1 else 3}f} images per second')
    limit = 'data' if data > network else 'network'
    table.add_row('limited by', f'{limit} (an image loads in {1000 * loading:.1f} ms, workers: {loader.num_workers})')
    table.add_row('time to finish', f'{runner.max_iters * seconds / 3600:.1f} hours, plus validation')
    return table


def _count(parameters) -> str:
    return f'{sum(p.numel() for p in parameters) / 1e6:.2f} M'
