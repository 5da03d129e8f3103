"""Keep the result of every evaluation."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from mmdssl.checkpoint.config_data import fingerprint_config
from mmdssl.checkpoint.fingerprint import fingerprint_weights
from mmdssl.datasets.images import image_names
from mmdssl.engine.backbone import backbone_of, config_of
from mmdssl.engine.unwrap import unwrap
from mmdssl.models.backbones.names import backbone_name
from mmdssl.protocols.frozen import FrozenBackbone
from mmdssl.registry import HOOKS
from mmdssl.results.records import append_record, fingerprint_file, fingerprint_text, is_recorded, standard_metrics

# mmdet gives no figures for a detector that finds nothing at all.
NOTHING_FOUND = {'detection': {f'{kind}_AP{iou}': 0. for kind in ('box', 'mask') for iou in ('', 50, 75)}}


@HOOKS.register_module()
class RecordHook(Hook):
    """Appends a record to ``work_dir/results.jsonl`` after each evaluation, see :mod:`mmdssl.results.records`.

    A resumed run that repeats an evaluation of its training (same weights, progress, data and config) does not record it again.

    Args:
        task: What was measured, as the published rows call it: ``'knn'``, ``'linear'``, ``'detection'``, ``'segmentation'``,
            ``'video-segmentation'`` ...
        dataset: Name of the evaluation data, as the published rows have it; by default that of its folder.
        framework: Head and schedule, as the published rows have it.
        setting: What else numbers must agree in to be compared, such as ``dict(mask=100)``. What the data set, the model and the metric,
            where it is a single one, have of their own in an attribute of that name is added; a ``framework`` in it takes the place
            of the one given.

    What a metric tells beyond its values, in an attribute ``details``, is recorded under that name: ``per_class`` and ``per_category``
    scores, and as ``baseline`` what else its values can be compared with.
    """

    def __init__(self, task: str = 'knn', dataset: str | None = None, framework: str | None = None, setting: dict | None = None):
        self.labels = dict(task=task, dataset_name=dataset, framework=framework, setting=setting)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._record(runner, runner.val_loop, metrics, epoch=runner.epoch, iteration=runner.iter)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._record(runner, runner.test_loop, metrics)

    def _record(self, runner: Runner, loop: BaseLoop, metrics: dict[str, float] | None, **progress: int) -> None:
        if not is_main_process():
            return
        model = unwrap(runner.model)
        weights = model.backbone if self.labels['task'] == 'knn' or isinstance(model, FrozenBackbone) else model
        path = Path(runner.work_dir, 'results.jsonl')
        record = dict(
            **self._labels(loop, model),
            method=type(model).__name__,
            **_backbone(model, runner.cfg.model),
            **progress,
            **_subset(runner),
            metrics=standard_metrics(metrics or {}) or NOTHING_FOUND.get(self.labels['task'], {}),
            **_details(loop),
            checkpoint=fingerprint_weights(weights),
            config=fingerprint_config(runner.cfg),
            dataset=fingerprint_text(image_names(loop.dataloader.dataset)))
        if not (progress and is_recorded(path, record)):
            append_record(path, **record)

    def _labels(self, loop: BaseLoop, model: nn.Module) -> dict[str, str | dict]:
        metrics = _metrics(loop)
        setting = dict(self.labels['setting'] or {})
        for each in (loop.dataloader.dataset, model, *(metrics if len(metrics) == 1 else ())):
            setting.update(getattr(each, 'setting', {}))
        labels = dict(self.labels, setting=setting)
        labels['dataset_name'] = labels['dataset_name'] or _folder_name(loop.dataloader.dataset)
        if 'framework' in setting:
            labels['framework'] = setting.pop('framework')
        return {key: value for key, value in labels.items() if value}


def _folder_name(dataset: Dataset) -> str:
    """The folder of a data set, above that of its split."""
    root = Path(getattr(dataset, 'data_root', None) or '').resolve()
    split = root.name in ('train', 'training', 'val', 'validation', 'test')
    return '' if root == Path().resolve() else root.parent.name if split else root.name


def _metrics(loop: BaseLoop) -> list:
    evaluator = getattr(loop, 'evaluator', None)
    return getattr(loop, 'protocols', None) or getattr(evaluator, 'metrics', [evaluator])


def _details(loop: BaseLoop) -> dict[str, dict]:
    found = {name: value for each in _metrics(loop) for name, value in getattr(each, 'details', {}).items()}
    if 'baseline' in found:
        found['baseline'] = {name: standard_metrics(metrics) for name, metrics in found['baseline'].items()}
    return dict(details=found) if found else {}


def _subset(runner: Runner) -> dict[str, str]:
    """Which labels were learnt from, where they are not all that there are."""
    loader = runner.train_dataloader if runner._train_loop else getattr(runner._test_loop, 'bank', None)
    subset = getattr(loader.dataset, 'subset', None) if loader else None
    return dict(labels=subset) if subset else {}


def _backbone(model: nn.Module, cfg: Mapping) -> dict[str, str | dict]:
    network = backbone_of(model)
    config, kind = config_of(network, cfg), type(network)
    if config is None:
        return dict(backbone=kind.__name__.lower())
    return describe_backbone(dict(config, type=f'{kind.__module__}.{kind.__name__}'))


def describe_backbone(cfg: Mapping) -> dict[str, str | dict]:
    """The name of a backbone, as the published rows have it, and what it was pretrained with, if a file says so."""
    found: dict[str, str | dict] = dict(backbone=backbone_name(cfg))
    init = cfg.get('init_cfg') or {}
    if 'checkpoint' in init:
        path = str(init['checkpoint'])
        found['pretrained'] = dict(path=path, **(dict(sha256=fingerprint_file(path)) if Path(path).is_file() else {}))
    return found
