"""The one bridge from the runner to the algorithm."""
from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdssl.engine.unwrap import unwrap
from mmdssl.registry import HOOKS
from mmdssl.schedules import Progress


@HOOKS.register_module()
class AlgorithmHook(Hook):
    """Tells the algorithm where training stands and, once per optimizer step, that the step was taken."""
    priority = 'HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        algorithm = unwrap(runner.model)
        algorithm.set_progress(Progress(runner.iter, runner.max_iters, runner.epoch, runner.max_epochs))
        runner.optim_wrapper.frozen = algorithm.frozen_parameters()
        self._steps = runner.optim_wrapper.num_steps

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if runner.optim_wrapper.num_steps > self._steps:
            unwrap(runner.model).after_step()
