"""What a resumed run takes from its checkpoint, and what from its config and the command line."""
from __future__ import annotations

import json
import os.path
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Dataset

from mmdssl.checkpoint.config_data import OF_A_LOADER, config_to_json, deciding_hooks, read_config
from mmdssl.datasets.images import image_names
from mmdssl.errors import InputError
from mmdssl.results.records import fingerprint_text

# The parts of a config that decide what is trained, and what may change in them between a run and its resumption.
DECIDING = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'sync_bn',
            'efficient_conv_bn_eval')
MAY_CHANGE = re.compile('|'.join([
    rf'train_dataloader\.({"|".join(sorted(OF_A_LOADER))})',
    # moved; the names of images are compared
    r'train_dataloader\.dataset\.(.+\.)?(data_root|ann_file|backend_args|data_prefix\..+|shards(\..+)?|index|cache|cache_gb)',
    r'train_dataloader\.batch_size',  # compared together with the number of processes
    r'train_cfg\.(val_begin|val_interval|val_before_train|dynamic_intervals.*)',
    r'model\.(.+\.)?(init_cfg|pretrained|checkpointing|with_cp)(\..+)?',  # initial weights, and memory for time
    r'optim_wrapper\.(amp|clip_per_tensor|clip_grad(\..+)?|optimizer\.(lr|weight_decay))',
    r'auto_scale_lr(\..+)?']))
# What belongs to a process, or says that and from where it resumes.
UNREMARKABLE = ('resume', 'load_from', 'launcher', 'experiment_name', 'work_dir')
SHOWN = 12


def fingerprint_images(dataset: Dataset) -> str:
    """A short name for the images of a data set in their order, wherever they lie."""
    return fingerprint_text(os.path.basename(name) for name in image_names(dataset))


def changes_since(runner: Runner, checkpoint: dict, filename: str | Path) -> dict[str, str] | None:
    """Compare a checkpoint with the run that wants to go on from it.

    Args:
        runner: The run, before anything is restored.
        checkpoint: Content of the file.
        filename: The file, for messages.

    Returns:
        By dotted name, what the config has changed since, as ``'old -> new'``; None where the checkpoint does not say its config.

    Raises:
        InputError: Something has changed that decides what is trained, by name.
    """
    meta, found, refused = checkpoint['meta'], {}, {}
    stored = read_config(meta.get('cfg'))
    if stored is not None:
        now = json.loads(config_to_json(runner.cfg))
        if not meta['cfg'].lstrip().startswith('{'):  # of an old file's program only what is literal was read
            now = {key: value for key, value in now.items() if key in stored}
        for name, old, new in _differences(stored, now):
            if name.split('.')[0] in DECIDING and not MAY_CHANGE.fullmatch(name):
                refused[name] = f'{_short(old)} -> {_short(new)}'
            elif name.split('.')[0] not in UNREMARKABLE:
                found[name] = f'{_short(old)} -> {_short(new)}'
        refused.update({f'{kind} ({name})': f'{_short(old)} -> {_short(new)}' for kind, name, old, new in _changed_hooks(stored, now)})
        refused.update(_changed_batch(stored, now, meta.get('world_size', runner.world_size), runner.world_size))
    seed, own_seed = meta.get('seed'), runner._randomness_cfg.get('seed')
    if None not in (seed, own_seed) and seed != own_seed:
        refused['randomness.seed'] = f'{seed} -> {own_seed}'
    if meta.get('images', runner.training_images) != runner.training_images:
        refused['the training images'] = 'others, or in another order'
    if refused:
        raise InputError(f'a resumed run cannot change {_listed(refused)}: resume {filename} with the values it was trained with, or start '
                         'a new run from its weights with load_from')
    return found


def resume_optimizer(runner: Runner, checkpoint: dict) -> dict[str, str]:
    """Restore optimizer and schedules; where the run has another learning rate or weight decay, its schedules go on with that.

    Args:
        runner: The run, its loop already where the checkpoint is.
        checkpoint: Content of the file.

    Returns:
        The rates that changed, as ``'old -> new'``.

    Raises:
        InputError: A rate changed and a schedule depends on past metrics, so that nobody knows where it would be.
    """
    optim_wrapper, schedulers, state = runner.optim_wrapper, runner.param_schedulers, checkpoint['optimizer']
    if isinstance(optim_wrapper, OptimWrapperDict):
        optim_wrapper.load_state_dict(state)
        for name, group in (schedulers or {}).items():
            _load_each(group, checkpoint.get('param_schedulers', {}).get(name, []))
        return {}
    old = _base_rates([*state['param_groups'], *filter(None, [state.get('base_param_settings')])])
    new = _base_rates(optim_wrapper.param_groups)
    if old == new or len(old) != len(new):
        optim_wrapper.load_state_dict(state)
        _load_each(schedulers or [], checkpoint.get('param_schedulers', []))
        return {}
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers or []):
        raise InputError('a resumed run cannot change the learning rate or weight decay of a schedule that follows a metric '
                         '(ReduceOnPlateau): resume with the values it was trained with')
    _advance(runner)
    kept = ('lr', 'weight_decay', 'initial_lr', 'initial_weight_decay')
    rates = [{key: group[key] for key in kept if key in group} for group in optim_wrapper.param_groups]
    optim_wrapper.load_state_dict(state)
    for group, rate in zip(optim_wrapper.param_groups, rates):
        group.update(rate)
    return {name: f'{before:.3g} -> {after:.3g}' for name, before, after in zip(('learning rate', 'weight decay'), old[-1], new[-1])
            if before != after}


def say_what_was_resumed(runner: Runner, filename: str | Path, changes: dict[str, str] | None, rates: dict[str, str]) -> None:
    """One line of the log."""
    if changes is None:
        said = 'its config cannot be read, so it was not compared with that of this run'
    else:
        said = 'the config of this run is that of the checkpoint'
    if changes or rates:
        said = f'from the config of this run: {_listed({**(changes or {}), **rates})}'
    runner.logger.info(f'Resumed epoch {runner.epoch}, iteration {runner.iter} of {filename}: weights, state of the optimizer, place in '
                       f'the schedules, seed and order of the data are from the checkpoint; {said}')


class EvaluateFirstHook(Hook):
    """Before a resumed run goes on, makes up for the evaluation that was due when the checkpoint was saved.

    The checkpoint of an epoch is saved before its evaluation, and tells whether that came after all only where it was saved again as
    the best so far. So an evaluation may be repeated, but none is missing; no record is written twice.
    """
    priority = 'LOWEST'  # when all other hooks are ready for training

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is not None and _is_due(runner):
            runner.logger.info('The checkpoint does not say that it was evaluated, so this comes first.')
            runner.val_loop.run()


def _is_due(runner: Runner) -> bool:
    loop = runner.train_loop
    loop._decide_current_val_interval()
    if isinstance(loop, EpochBasedTrainLoop):
        done, end, between = loop.epoch, loop.max_epochs, loop.iter == loop.epoch * len(loop.dataloader)
    else:
        done, end, between = loop.iter, loop.max_iters, True
    return (loop.iter > 0 and between and runner.message_hub.get_info('evaluated', None) != loop.iter
            and done >= loop.val_begin and (done % loop.val_interval == 0 or done == end))


def _differences(old: Any, new: Any, *path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), *path, key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new)):
            yield from _differences(*pair, *path, str(i))
    elif old != new and not (path[-1] == 'type' and str(old).removeprefix('mmdssl.') == str(new).removeprefix('mmdssl.')):
        yield '.'.join(path), old, new


def _changed_hooks(old: Mapping, new: Mapping) -> Iterator[tuple[str, str, Any, Any]]:
    old, new = deciding_hooks(old), deciding_hooks(new)
    for kind in dict.fromkeys([*old, *new]):
        for name, before, after in _differences(old.get(kind), new.get(kind), ''):
            yield kind, name.lstrip('.') or 'the hook', before, after


def _changed_batch(old: Mapping, new: Mapping, old_processes: int, processes: int) -> dict[str, str]:
    before, after = (config.get('train_dataloader', {}).get('batch_size') for config in (old, new))
    if None in (before, after) or before * old_processes == after * processes:
        return {}
    return {'train_dataloader.batch_size x processes': f'{before} x {old_processes} -> {after} x {processes}'}


def _base_rates(groups: list[dict]) -> list[tuple]:
    """Learning rate and weight decay of each group before its schedules."""
    return [tuple(group.get(f'initial_{name}', group.get(name)) for name in ('lr', 'weight_decay')) for group in groups]


def _load_each(schedulers: list, states: list[dict]) -> None:
    for scheduler, state in zip(schedulers, states):
        scheduler.load_state_dict(state)


def _advance(runner: Runner) -> None:
    """Step new schedules to where the run is, as training would have done; most are recursive, so there is no shorter way."""
    by_epoch, by_iteration = ([scheduler for scheduler in runner.param_schedulers or [] if scheduler.by_epoch == kind]
                              for kind in (True, False))
    length = len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.max_iters
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # that no step of the optimizer comes between
        for iteration in range(1, runner.iter + 1):
            for scheduler in by_iteration:
                scheduler.step()
            if iteration % length == 0 and iteration // length <= runner.epoch:
                for scheduler in by_epoch:
                    scheduler.step()


def _listed(changes: dict[str, str]) -> str:
    listed = ', '.join(f'{name} {change}' if '->' in change else f'{name} ({change})' for name, change in list(changes.items())[:SHOWN])
    return listed + (f' and {len(changes) - SHOWN} more' if len(changes) > SHOWN else '')


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
