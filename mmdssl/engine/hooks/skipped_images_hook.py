"""Files that could not be decoded."""
from __future__ import annotations

from collections.abc import Mapping

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdssl.arguments import PositiveInt, Share
from mmdssl.datasets.labelled_folder import UNREADABLE
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS

FEW = 2  # that may be bad however few images there are


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Names every image that could not be decoded once in the log, and stops a run in which there are too many.

    They are those that our datasets name in ``Views.skipped``, and :class:`mmdssl.datasets.transforms.LoadImage` in the
    data samples of mmdet and mmseg; of :class:`mmdssl.datasets.SegmentedImages`, where none takes the place of such an image, the label
    tells. A resumed run remembers those of before.

    Args:
        max_share: Share of the dataset's images that may be bad; of small ones two may be, whatever the share.
        interval: Iterations from one report to the next; the end of an epoch reports too.
    """

    def __init__(self, max_share: Share = 0.01, interval: PositiveInt = 50):
        self.max_share = max_share
        self.interval = interval
        self.paths: list[str] = []
        self._found: list[str] = []

    def before_train(self, runner: Runner) -> None:
        self.paths = runner.message_hub.get_info('skipped_images', [])

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._found += _skipped(data_batch, runner.train_dataloader.dataset)
        if self.every_n_train_iters(runner, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._report(runner)

    def _report(self, runner: Runner) -> None:
        instead = 'its pixels do not count' if hasattr(runner.train_dataloader.dataset, 'read_mask') else 'another image takes its place'
        found = {path for share in all_gather_object(self._found) for path in share}
        self._found = []
        for path in sorted(found - set(self.paths)):
            self.paths.append(path)
            runner.logger.warning(f'{path} cannot be decoded, {instead} ({len(self.paths)} so far)')
        runner.message_hub.update_info('skipped_images', self.paths)
        total = len(runner.train_dataloader.dataset)
        if len(self.paths) > max(self.max_share * total, FEW):
            some = ', '.join(self.paths[:10]) + (' ...' if len(self.paths) > 10 else '')
            raise InputError(f'{len(self.paths)} of {total} images cannot be decoded, more than max_share='
                             f'{self.max_share:g} of SkippedImagesHook allows ({some}): repair or remove them, the log '
                             f'names all that were met, or allow more{_option(runner)}')


def _option(runner: Runner) -> str:
    """What allows more, where the config names the hook."""
    hooks = runner.cfg.get('custom_hooks') or []
    place = next((i for i, hook in enumerate(hooks) if str(hook.get('type')).endswith('SkippedImagesHook')), None)
    return '' if place is None else f' with --cfg-options custom_hooks.{place}.max_share=0.1'


def _skipped(data_batch, dataset: Dataset) -> list[str]:
    if isinstance(data_batch, Mapping) and 'mask' in data_batch:
        lost = data_batch['index'][data_batch['label'] == UNREADABLE]
        return [dataset.get_data_info(index)['img_path'] for index in lost.tolist()]
    if isinstance(data_batch, Mapping):
        return [path for sample in data_batch.get('data_samples', []) for path in sample.metainfo.get('skipped', [])]
    return getattr(data_batch, 'skipped', [])
