"""Repeat the step whose loss was not finite."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor

from mmdssl.checkpoint.config_data import check_buildable, config_to_json, read_config
from mmdssl.checkpoint.files import read_checkpoint, whole_file
from mmdssl.datasets.views import ViewGroup, Views
from mmdssl.engine.optim_wrapper import autocast
from mmdssl.engine.sharding import full_state, whole
from mmdssl.engine.unwrap import unwrap
from mmdssl.errors import InputError
from mmdssl.registry import MODELS
from mmdssl.schedules import Progress


def save_replay(runner: Runner, data_batch, seed: int, buffers: dict[str, Tensor]) -> Path:
    """Save what repeats the current step of this process.

    Args:
        runner: The runner, before the optimizer step.
        data_batch: The batch as it came from the loader.
        seed: Of torch's generators before the step.
        buffers: The model's buffers before the forward pass, which may have moved them.

    Returns:
        ``work_dir/replay_iter_{iteration}_rank{rank}.pth``.
    """
    with whole(runner):
        state = unwrap(runner.model).state_dict()
    state.update({name: buffer for name, buffer in buffers.items() if name in state})
    optimizer = full_state(runner.optim_wrapper.state_dict(), everywhere=True)
    path = Path(runner.work_dir, f'replay_iter_{runner.iter}_rank{runner.rank}.pth')
    with whole_file(path) as partial:
        torch.save(dict(config=config_to_json(runner.cfg), state_dict=state, optimizer=optimizer,
                        progress=[runner.iter, runner.max_iters, runner.epoch, runner.max_epochs], seed=seed,
                        data_batch=data_batch), partial)
    return path


def replay(path: str | Path, device: str | None = None) -> dict[str, float]:
    """Build the algorithm of a replay file and compute the losses of its step again.

    Args:
        path: File that a stopped run left in its work directory.
        device: Where to compute, by default a GPU if there is one. Dropout draws differ between kinds of devices.

    Returns:
        The values that the algorithm logs, ``loss`` among them.

    Raises:
        InputError: The file is no replay, or its config cannot be built without running what the file says.
    """
    device = torch.device(device or get_device())
    saved = read_checkpoint(path, device, allow=[Views, ViewGroup])
    missing = [part for part in ('config', 'state_dict', 'progress', 'seed', 'data_batch') if part not in saved]
    config = read_config(saved['config']) if not missing else None
    if config is None or not {'model', 'optim_wrapper'} <= config.keys():
        raise InputError(f'{path} is no replay file, for it has no {missing[0] if missing else "config"}: give a replay_iter_*.pth that a '
                         'stopped run left')
    model = _without_initial_weights(config['model'])
    check_buildable(model, path)
    cfg = ConfigDict(config, model=model)
    with DefaultScope.overwrite_default_scope('mmdssl'):
        algorithm = MODELS.build(cfg.model).to(device).train()
    algorithm.load_state_dict(saved['state_dict'])
    torch.manual_seed(saved['seed'])
    algorithm.set_progress(Progress(*saved['progress']))
    with torch.no_grad(), autocast(device, cfg.optim_wrapper.get('amp')):
        losses = algorithm(**algorithm.data_preprocessor(saved['data_batch'], True), mode='loss')
        values = algorithm.parse_losses(losses)[1]
    return {name: float(value) for name, value in values.items()}


def _without_initial_weights(node: Any) -> Any:
    """A config whose networks load nothing, for the file has their weights."""
    if isinstance(node, dict):
        return {key: _without_initial_weights(value) for key, value in node.items() if key != 'init_cfg'}
    return [_without_initial_weights(item) for item in node] if isinstance(node, list) else node
