"""The small file that others use."""
from __future__ import annotations

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmdssl
from mmdssl.checkpoint import save_backbone
from mmdssl.engine.unwrap import unwrap
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Leaves ``work_dir/backbone.safetensors``, the backbone to be evaluated, whenever a checkpoint is saved."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        algorithm, meta = unwrap(runner.model), checkpoint['meta']
        save_backbone(algorithm.backbone, Path(runner.work_dir, 'backbone.safetensors'),
                      runner.cfg.model.get('backbone'), method=type(algorithm).__name__, epoch=meta['epoch'],
                      iteration=meta['iter'], mmdssl=mmdssl.__version__)
