"""The small file that others use."""
from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

import mmdssl
from mmdssl.checkpoint import save_backbone
from mmdssl.engine.backbone import config_of
from mmdssl.engine.sharding import whole
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import HOOKS


@HOOKS.register_module()
class ExportBackboneHook(Hook):
    """Leaves ``work_dir/backbone.safetensors``, the backbone to be evaluated, whenever a checkpoint is saved.

    Without a config where the config of the model has none for it, which the log says.

    Raises:
        InputError: Before the first step: it cannot be exported.
    """

    def before_train(self, runner: Runner) -> None:
        with whole(runner):
            self._try_export(runner)

    @master_only
    def _try_export(self, runner: Runner) -> None:
        algorithm = unwrap(runner.model)
        try:
            with TemporaryDirectory() as folder:
                self._export(runner, Path(folder), 0, 0)
        except (AttributeError, RuntimeError, TypeError) as error:
            raise InputError(f'the backbone of {type(algorithm).__name__} cannot be exported ({str(error).splitlines()[0]}): let it be '
                             'a network with tensors of its own, built from a dict of plain values, or remove '
                             'ExportBackboneHook') from error
        if config_of(algorithm.backbone, runner.cfg.model) is None:
            runner.logger.warning(f'No dict in the config of the model builds its {type(algorithm.backbone).__name__}, so '
                                  'backbone.safetensors will hold weights alone: load_backbone cannot build it')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._export(runner, Path(runner.work_dir), checkpoint['meta']['epoch'], checkpoint['meta']['iter'])

    def _export(self, runner: Runner, folder: Path, epoch: int, iteration: int) -> None:
        algorithm = unwrap(runner.model)
        save_backbone(algorithm.backbone, folder / 'backbone.safetensors', config_of(algorithm.backbone, runner.cfg.model),
                      method=type(algorithm).__name__, epoch=epoch, iteration=iteration, mmdssl=mmdssl.__version__,
                      **_pixels(algorithm.data_preprocessor))


def _pixels(preprocessor: nn.Module) -> dict[str, str]:
    """By what images are normalised, from 0 to 1, for those who load the backbone elsewhere."""
    found = {name: getattr(preprocessor, name, None) for name in ('mean', 'std')}
    if not all(isinstance(values, torch.Tensor) and values.numel() == 3 for values in found.values()):
        return {}
    return dict(pixels=json.dumps({name: [round(value / 255, 6) for value in values.flatten().tolist()] for name, values in found.items()}))
