"""Validation of trained classifiers."""
from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmdssl.datasets.labelled_folder import require_classes
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.protocols.accuracy import rank_of_label
from mmdssl.protocols.features import batches_of, readable_names
from mmdssl.registry import LOOPS, METRICS

BEST = 'best_of_classification'


@LOOPS.register_module()
class ClassificationLoop(BaseLoop):
    """Accuracy of a model of one or several classifiers, such as :class:`mmdssl.models.Classifier`, on labelled images.

    In training, ``best_top1``, ``best_epoch`` and, of a sweep, ``best_head_lr`` tell the best evaluation of the run so far, beside this
    one's. What cannot be decoded is left out, with a warning.

    Args:
        runner: The runner; its model has ``scores(images)``, ``(B, H, K)``, and ``summary(accuracies)``.
        dataloader: Config of the images: a :class:`mmdssl.datasets.LabelledFolder` or the like. Sampler and collate function may be
            left out.
        evaluator: Config of the metric, :class:`mmdssl.protocols.accuracy.AccuracyMetric`.

    Raises:
        InputError: The classes are not those that the model is trained on, there is a single one, or there is no image.
    """

    def __init__(self, runner: Runner, dataloader: dict, evaluator: dict):
        in_order = dict(sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
        super().__init__(runner, {**in_order, **dataloader})
        self.evaluator = METRICS.build(evaluator)
        self._check_classes()

    def _check_classes(self) -> None:
        dataset, known = self.dataloader.dataset, unwrap(self.runner.model).num_classes
        if self.runner._train_loop is not None:
            trained = self.runner.train_dataloader.dataset
            parts = [set(part.classes) for part in (dataset, trained)]
            if parts[0] != parts[1]:
                lacking = [f'{", ".join(sorted(more - less)[:5])}, which {name} lacks' for more, less, name in (
                    (parts[0], parts[1], f"the training data '{trained.data_root}'"), (parts[1], parts[0], f"'{dataset.data_root}'"))
                    if more - less]
                raise InputError(f'training and validation have other classes: {"; ".join(lacking)}: point both at parts of the same '
                                 'data set')
        require_classes(dataset)
        if len(dataset.classes) != known:
            raise InputError(f"'{dataset.data_root}' has {len(dataset.classes)} classes and the model {known}: set model.num_classes to "
                             f'{len(dataset.classes)}, or name the data set with --data, which does so')

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        runner, model = self.runner, unwrap(self.runner.model)
        stage = 'test' if runner._test_loop is self else 'val'
        runner.call_hook(f'before_{stage}')
        runner.call_hook(f'before_{stage}_epoch')
        model.eval()
        ranks, labels = self._ranks(model)
        metrics = model.summary(self.evaluator(ranks, labels, model.num_classes))
        if stage == 'val':
            metrics.update(self._best(metrics))
        runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        runner.call_hook(f'after_{stage}')
        return metrics

    def _ranks(self, model: torch.nn.Module) -> tuple[Tensor, Tensor]:
        """Of the images that can be decoded, the rank of the true class for each classifier ``(n, H)``, and the labels ``(n,)``."""
        device, size = next(model.parameters()).device, len(self.dataloader.dataset)
        ranks, labels = None, torch.full((size, ), -2, device=device)
        for batch in batches_of(self.dataloader, 'Predictions'):
            index, truth = batch['index'].to(device), batch['label'].to(device)
            found = rank_of_label(model.scores(model.data_preprocessor.normalise(batch['image'])), truth.clamp(min=0))
            if ranks is None:
                ranks = torch.full((size, found.shape[1]), -1, device=device)
            ranks[index], labels[index] = found, truth
        for share in ranks, labels:
            all_reduce(share, 'max')  # images that two processes have seen count once
        kept = (labels >= 0).nonzero().flatten()
        readable_names(self.dataloader.dataset, kept.tolist())
        return ranks[kept], labels[kept]

    def _best(self, metrics: dict[str, float]) -> dict[str, float]:
        hub = self.runner.message_hub
        best = hub.get_info(BEST, None)
        if best is None or metrics['top1'] > best['best_top1']:
            best = dict(best_top1=metrics['top1'], best_epoch=self.runner.epoch,
                        **{f'best_{name}': value for name, value in metrics.items() if name.startswith('head_')})
            hub.update_info(BEST, best)
        return best
