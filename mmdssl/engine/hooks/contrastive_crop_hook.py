"""Crops that follow what the network looks at."""
from __future__ import annotations

import time
from typing import Annotated

import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmdssl.arguments import PositiveInt, Range
from mmdssl.datasets.base import ImageDataset
from mmdssl.datasets.crop_boxes import WholeImages, boxes_of_heat_maps
from mmdssl.datasets.images import image_names
from mmdssl.datasets.transforms.crops import FULL_BOX
from mmdssl.datasets.workers import prepare_workers
from mmdssl.engine.optim_wrapper import autocast
from mmdssl.engine.sharding import whole
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS
from mmdssl.results.records import fingerprint_text

KEY = 'crop_boxes'
Epochs = PositiveInt | Annotated[float, Range('between 0 and 1', lambda share: 0 < share < 1)]


@HOOKS.register_module()
class ContrastiveCropHook(Hook):
    """Finds the boxes of views with ``box_alpha`` (Crafting better contrastive views for Siamese representation
    learning, CVPR 2022).

    Now and then the backbone to be evaluated, the teacher's where there is one, looks at every training image. The box
    around what it looks at is where views of that image come from afterwards. Before that they come from the whole
    image. Boxes are part of the checkpoint.

    Args:
        warmup: Epochs before the first boxes, or their share of training, below 1.
        interval: Epochs from one update to the next, or their share of training. The last epoch needs no update.
        threshold: See :func:`mmdssl.datasets.crop_boxes.boxes_of_heat_maps`.
        size: Side in pixels that images are resized to, whatever their shape, before the network looks at them.

    Raises:
        InputError: When training begins, no view has ``box_alpha``, the backbone cannot say
            where in an image of ``size`` it looks, or a resumed checkpoint is of other data.
    """

    def __init__(self, warmup: Epochs = 0.2, interval: Epochs = 0.2,
                 threshold: Annotated[float, Range('from 0 to below 1', lambda value: 0 <= value < 1)] = 0.1, size: PositiveInt = 224):
        self.warmup = warmup
        self.interval = interval
        self.threshold = threshold
        self.size = size
        self._loaded: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._loaded = checkpoint.get(KEY)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        dataset = runner.train_dataloader.dataset
        checkpoint[KEY] = dict(boxes=dataset.crop_boxes, images=self.images)

    def before_train(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        if getattr(dataset, 'crop_boxes', None) is None:
            raise InputError('ContrastiveCropHook finds boxes that no view uses: give the groups of '
                             'train_dataloader.dataset.views (global_, local) box_alpha=0.6, or remove the hook')
        with whole(runner):
            self._try_heat_map(unwrap(runner.model))
        self.images = fingerprint_text(image_names(dataset))
        self.epochs = update_epochs(self.warmup, self.interval, runner.max_epochs)
        if not self.epochs:
            runner.logger.warning(f'ContrastiveCropHook has nothing to do: its warm-up of {self.epochs.start} epochs '
                                  f'is not over before the last of {runner.max_epochs}')
        if runner.iter > 0:  # otherwise only the weights were loaded
            self._restore(runner, dataset)

    def _restore(self, runner: Runner, dataset: ImageDataset) -> None:
        if self._loaded is None:
            runner.logger.warning('The checkpoint has no crop boxes: crops come from anywhere until the next are found')
        elif self._loaded['images'] != self.images:
            raise InputError(f'the checkpoint has crop boxes of {len(self._loaded["boxes"])} images, which are not the '
                             f'{len(dataset)} of the training data: resume with the same data, or start a new run from '
                             'its weights with load_from')
        else:
            dataset.crop_boxes.copy_(self._loaded['boxes'])

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.epoch + 1 not in self.epochs:
            return
        start = time.perf_counter()
        with whole(runner):
            boxes = self._find_boxes(runner)
        # The loader asks its processes for views of the next epoch only when that begins.
        runner.train_dataloader.dataset.crop_boxes.copy_(boxes)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1).mean()
        runner.logger.info(f'Crop boxes of {len(boxes)} images: {100 * area:.0f} % of an image on average, found in '
                           f'{time.perf_counter() - start:.1f} s')

    @torch.no_grad()
    def _try_heat_map(self, algorithm: nn.Module) -> None:
        """Otherwise a run would learn only after the warm-up that its backbone cannot do this."""
        was_training, backbone = algorithm.training, algorithm.backbone
        if not hasattr(backbone, 'heat_map'):
            raise InputError(f'ContrastiveCropHook asks the backbone where it looks, and {type(backbone).__name__} has '
                             'no heat_map: use another backbone, or remove the hook')
        algorithm.eval()
        try:
            backbone.heat_map(torch.zeros(1, 3, self.size, self.size, device=next(backbone.parameters()).device))
        except InputError as error:
            raise InputError(f'ContrastiveCropHook asks the backbone where it looks: {error}') from error
        algorithm.train(was_training)

    @torch.no_grad()
    def _find_boxes(self, runner: Runner) -> Tensor:
        """Boxes of all images ``(n, 4)``, on every process; each has looked at a share."""
        algorithm, train = unwrap(runner.model), runner.train_dataloader
        rank, processes = get_dist_info()
        images = WholeImages(train.dataset, self.size)
        loader = DataLoader(
            images, train.batch_sampler.batch_size, sampler=range(rank, len(images), processes),
            num_workers=train.num_workers, pin_memory=train.pin_memory,
            multiprocessing_context=train.multiprocessing_context,
            generator=torch.Generator())  # without one of its own it would draw from the global one
        prepare_workers(loader)
        device = next(algorithm.parameters()).device
        boxes = torch.zeros(len(images), 4, device=device)
        was_training = algorithm.training
        algorithm.eval()
        for batch in loader:
            with autocast(device, runner.optim_wrapper.amp):
                maps = algorithm.backbone.heat_map(algorithm.data_preprocessor.normalise(batch['image']))
            found = boxes_of_heat_maps(maps, self.size, self.threshold)
            found[~batch['readable']] = found.new_tensor(FULL_BOX)
            boxes[batch['index']] = found
        algorithm.train(was_training)
        all_reduce(boxes)
        return boxes


def update_epochs(warmup: int | float, interval: int | float, max_epochs: int) -> range:
    """Numbers of finished epochs after which boxes are found; arguments as in :class:`ContrastiveCropHook`."""
    first, step = (number if isinstance(number, int) else max(1, round(number * max_epochs))
                   for number in (warmup, interval))
    return range(first, max_epochs, step)
