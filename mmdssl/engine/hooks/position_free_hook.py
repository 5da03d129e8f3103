"""The backbone without what tells positions, as a checkpoint."""
from __future__ import annotations

from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmdssl
from mmdssl.checkpoint import save_backbone
from mmdssl.engine.backbone import config_of
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.protocols.positions import PositionMetric
from mmdssl.registry import HOOKS, MODELS


@HOOKS.register_module()
class PositionFreeHook(Hook):
    """Leaves ``work_dir/position-free.safetensors`` after a test by :class:`mmdssl.protocols.positions.PositionMetric`.

    It holds a :class:`mmdssl.models.backbones.PositionFree`, which protocols take that read
    what :class:`PositionMetric` has read.

    Raises:
        InputError: The config of the model does not say how its backbone is built.
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        for protocol in runner.test_loop.protocols:
            if isinstance(protocol, PositionMetric):
                self._save(runner, protocol)

    def _save(self, runner: Runner, protocol: PositionMetric) -> None:
        backbone, directions, extractor = unwrap(runner.model).backbone, protocol.directions, protocol.extractor
        inside = config_of(backbone, runner.cfg.model)
        if inside is None:
            raise InputError(f'no dict in the config of the model builds its {type(backbone).__name__}: PositionFreeHook needs it for the '
                             'file that it writes')
        _, number, width = directions.shape
        config = dict(type='mmdssl.PositionFree', backbone={key: value for key, value in inside.items() if key != 'init_cfg'},
                      width=width, directions=number, blocks=extractor.numbers(backbone.num_blocks), facet=extractor.facet,
                      norm=extractor.norm)
        with torch.random.fork_rng(devices=[]):
            free = MODELS.build(config)
        free.network = backbone
        free.directions.copy_(directions)
        path = Path(runner.work_dir, 'position-free.safetensors')
        save_backbone(free, path, config, mmdssl=mmdssl.__version__)
        runner.logger.info(f'{path} is the same backbone without the {number} directions in which its patches tell their position: '
                           f'evaluate it as any other checkpoint, tools/test.py CONFIG {path}')
