"""Keep the result of every k-NN evaluation of a run."""
from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmdssl.engine.unwrap import unwrap
from mmdssl.evaluation.records import append_record, fingerprint_text, fingerprint_weights
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class RecordHook(Hook):
    """Appends a record to ``work_dir/results.jsonl`` after each evaluation, see :mod:`mmdssl.evaluation.records`."""

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        if not is_main_process():
            return
        dataset = runner.val_dataloader.dataset
        files = (dataset.get_data_info(i)['img_path'].removeprefix(dataset.data_root) for i in range(len(dataset)))
        model = unwrap(runner.model)
        append_record(
            Path(runner.work_dir, 'results.jsonl'),
            task='knn',
            method=type(model).__name__,
            epoch=runner.epoch,
            iteration=runner.iter,
            metrics=metrics,
            checkpoint=fingerprint_weights(model.backbone),
            config=fingerprint_text([runner.cfg.pretty_text]),
            dataset=fingerprint_text(files))
