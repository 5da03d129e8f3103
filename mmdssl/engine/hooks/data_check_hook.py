"""Labelled data that is wrong, before a run spends hours on it."""
from __future__ import annotations

import re

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdssl.datasets.base import seeded
from mmdssl.datasets.checks import check_labelled_data
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Looks through the data of mmdet and mmseg before the first step of a run, see :mod:`mmdssl.datasets.checks`.

    Unusable annotations are counted in a warning. Images or label maps that do not exist, transforms that cannot take the first
    sample, and heads for fewer classes than the data has stop the run, on every process.
    """

    def __init__(self):
        self._checked = []

    def before_train(self, runner: Runner) -> None:
        self._check(runner, runner.train_dataloader)
        classes = getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes') or ()
        for name, module in unwrap(runner.model).named_modules():
            known = getattr(module, 'num_classes', None)
            if re.search(r'(?<!rpn_)head(\.\d+)?$', name) and isinstance(known, int) and known < len(classes):
                raise InputError(f'model.{name} has num_classes={known}, but the training data has {len(classes)} classes: set it to '
                                 'their number')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader)

    def before_val(self, runner: Runner) -> None:
        self._check(runner, runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        self._check(runner, runner.test_dataloader)

    def _check(self, runner: Runner, dataloader: DataLoader) -> None:
        if dataloader.dataset in self._checked:
            return
        self._checked.append(dataloader.dataset)
        failure = [None]
        if is_main_process():
            try:
                with seeded(0):  # the sample that is loaded must not change what a run draws
                    for warning in check_labelled_data(dataloader.dataset):
                        runner.logger.warning(warning)
            except InputError as error:
                failure = [str(error)]
        broadcast_object_list(failure)
        if failure[0]:
            raise InputError(failure[0])
