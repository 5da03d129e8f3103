"""Validation of linear classifiers of patches."""
from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.runner import BaseLoop, Runner

from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.protocols.patches import PatchFeatures
from mmdssl.protocols.segmentation_scores import confusion, shrink
from mmdssl.registry import LOOPS, METRICS


@LOOPS.register_module()
class SegmentationLoop(BaseLoop):
    """What a :class:`mmdssl.protocols.LinearSegmentation` makes of images with masks, at the size of its masks.

    Images that cannot be decoded are left out, with a warning.

    Args:
        runner: The runner.
        dataloader: Config of the images: a :class:`mmdssl.datasets.SegmentedImages`. Sampler and collate function may be left out.
        evaluator: Config of the metric, :class:`mmdssl.protocols.linear_segmentation.SegmentationMetric`.

    Raises:
        InputError: The data, or those of the training, have another number of classes than the model; or when it runs: no image can be
            decoded, or no pixel counts.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: dict):
        in_order = dict(sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
        super().__init__(runner, {**in_order, **dataloader})
        self.evaluator = METRICS.build(evaluator)
        known = unwrap(runner.model).num_classes
        trained = [runner.train_dataloader.dataset] if runner._train_loop is not None else []
        for dataset in (*trained, self.dataloader.dataset):
            if len(dataset.classes) != known:
                raise InputError(f"'{dataset.data_root}' has {len(dataset.classes)} classes and the model {known}: set model.num_classes "
                                 f'to {len(dataset.classes)}, or classes of the data set to its own')

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        runner, model = self.runner, unwrap(self.runner.model)
        stage = 'test' if runner._test_loop is self else 'val'
        runner.call_hook(f'before_{stage}')
        runner.call_hook(f'before_{stage}_epoch')
        model.eval()
        patches = PatchFeatures(model.backbone, self.dataloader, model.extractor, model.data_preprocessor.normalise)
        matrix = torch.zeros(model.num_classes, model.num_classes, dtype=torch.int64, device=patches.device)
        for batch in patches:
            predicted = model.scores(batch.values, batch.grid).argmax(1)
            matrix += confusion(predicted, shrink(batch.masks, model.mask_size), *matrix.shape)
        patches.warn_of_unreadable()
        all_reduce(matrix)
        metrics = self.evaluator(matrix)
        runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        runner.call_hook(f'after_{stage}')
        return metrics
