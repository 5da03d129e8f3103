"""Runs that ``--cfg-options`` make shorter than their config: what the config dates is shortened with them."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config

from mmdssl.schedules import whole

LENGTHS = dict(max_epochs='epochs', max_iters='iterations')
DATES = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'periods')
# Arguments of algorithms: ramps (start, end, epochs), which may be by stream; other epochs; iterations.
RAMPS, EPOCHS, ITERATIONS = ('teacher_temperature', 'target_temperature'), ('freeze_last_layer', ), ('freeze_prototypes', 'dense_warmup')
# Of hooks, by the end of their type: epochs, which stay whole.
OF_HOOKS = dict(ContrastiveCropHook=('warmup', 'interval'))


def run_length(cfg: Config) -> tuple[str, int] | None:
    """Key and value of the length in ``train_cfg``."""
    train = cfg.get('train_cfg') or {}
    return next(((key, train[key]) for key in LENGTHS if isinstance(train.get(key), int) and train[key] > 0), None)


def fit_schedules(cfg: Config, before: tuple[str, int] | None, options: Mapping[str, object]) -> str:
    """Give a run that is shorter than its config the same course, in less time.

    All dates of ``param_scheduler``, ramps of temperatures and other warm-ups shrink in proportion; what follows the progress of the run
    does so by itself. What ``options`` name stays, an entry of ``param_scheduler`` as a whole where one of its dates is named. A longer
    run keeps all dates: its config says where a schedule ends.

    Args:
        cfg: With the options applied; changed in place.
        before: :func:`run_length` of the config without them.
        options: ``--cfg-options``.

    Returns:
        What to tell people, or nothing.
    """
    after = run_length(cfg)
    if before is None or after is None or before[0] != after[0] or before[1] == after[1]:
        return ''
    (key, old), new = before, after[1]
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    if new > old:
        ended = [i for i, each in enumerate(schedulers) if each.get('end') == old and each.get('by_epoch', True) == (key == 'max_epochs')]
        stretch = ' '.join(f'param_scheduler.{i}.end={new}' for i in ended)
        said = f'The run has {new} {LENGTHS[key]}, and schedules of its config end after {old}: to stretch them, give --cfg-options'
        return f'{said} {stretch} too.' if ended else ''
    changes = []
    for i, scheduler in enumerate(schedulers):
        place = f'param_scheduler.{i}'
        if not _named(options, ['param_scheduler', place], [f'{place}.{date}' for date in DATES]):
            by_epoch = scheduler.get('by_epoch', True)
            for date in DATES:
                if scheduler.get(date):
                    was = scheduler[date]
                    scheduler[date] = _shorter(was, old, new, by_epoch)
                    changes.append(f'{scheduler["type"]}.{date} {_short(was)} -> {_short(scheduler[date])}')
    if isinstance(cfg.get('param_scheduler'), Sequence):
        cfg.param_scheduler = [each for each in schedulers if not _is_empty(each, after)]
    changes += _shorten_arguments(cfg, old, new, options)
    said = f'The run has {new} of the {old} {LENGTHS[key]} of its config'
    if not changes:
        return f'{said}; its schedules follow the length of the run.'
    return f'{said}, and is shortened as a whole: {", ".join(changes)}. What --cfg-options name stays as it is.'


def in_iterations(schedulers: Sequence, max_epochs: int, epoch_length: int) -> Iterator:
    """Configs of schedulers, those whose dates are no whole epochs counted by iteration, without those that are too short to begin."""
    for scheduler in schedulers:
        if isinstance(scheduler, Mapping) and scheduler.get('by_epoch', True):
            dates = {date: scheduler[date] for date in DATES if scheduler.get(date) is not None}
            broken = not all(whole(number) for date in dates.values() for number in (date if isinstance(date, Sequence) else [date]))
            counted = {date: _in_iterations(value, epoch_length) for date, value in {'end': max_epochs, **dates}.items()}
            by_iteration = broken or scheduler.get('convert_to_iter_based')
            if by_iteration and _is_too_short(scheduler['type'], counted.get('begin', 0), counted['end']):
                continue
            if broken:
                scheduler = {**scheduler, **counted, 'by_epoch': False}
                scheduler.pop('convert_to_iter_based', None)
        yield scheduler


def _in_iterations(date, epoch_length: int):
    return [_in_iterations(each, epoch_length) for each in date] if isinstance(date, Sequence) else round(date * epoch_length)


def _shorten_arguments(cfg: Config, old: int, new: int, options: Mapping[str, object]) -> Iterator[str]:
    model = cfg.get('model') or {}
    for key in (*RAMPS, *EPOCHS, *ITERATIONS):
        was = model.get(key)
        if not was or _named(options, ['model'], [f'model.{key}']):
            continue
        if key in RAMPS and isinstance(was, Mapping):
            model[key] = {name: (*ramp[:2], _shorter(ramp[2], old, new)) for name, ramp in was.items()}
        elif key in RAMPS:
            model[key] = (*was[:2], _shorter(was[2], old, new))
        else:
            model[key] = _shorter(was, old, new, key in EPOCHS)
        if model[key] != was:
            yield f'{key} {_short(was)} -> {_short(model[key])}'
    for group in ('default_hooks', 'custom_hooks'):
        hooks = cfg.get(group) or {}
        for name, hook in hooks.items() if isinstance(hooks, Mapping) else enumerate(hooks):
            for key in OF_HOOKS.get(str((hook or {}).get('type')).rpartition('.')[2], ()):
                if isinstance(hook.get(key), int) and not _named(
                        options, [group, f'{group}.{name}'], [f'{group}.{name}.{key}']):
                    was, hook[key] = hook[key], _shorter(hook[key], old, new, by_epoch=False)
                    yield f'{hook["type"]}.{key} {was} -> {hook[key]}'


def _shorter(date, old: int, new: int, by_epoch: bool = True):
    """Epochs may break, iterations are whole and at least one."""
    if isinstance(date, Sequence):
        return [_shorter(each, old, new, by_epoch) for each in date]
    shorter = date * new / old
    if by_epoch:
        return int(shorter) if whole(shorter) else shorter
    return max(round(shorter), min(date, 1))


def _is_empty(scheduler: Mapping, length: tuple[str, int]) -> bool:
    """Of those that are counted as they stand."""
    by_epoch = scheduler.get('by_epoch', True)
    begin, end = scheduler.get('begin', 0), scheduler.get('end', length[1] if by_epoch == (length[0] == 'max_epochs') else None)
    if end is None or by_epoch and (scheduler.get('convert_to_iter_based') or not (whole(begin) and whole(end))):
        return False
    return _is_too_short(scheduler['type'], begin, end)


def _is_too_short(kind: str, begin: float, end: float) -> bool:
    """A ramp that has a first step but no last one would leave the rate where it begins."""
    return end - begin < (2 if re.search('Linear|Constant', str(kind)) else 1)


def _named(options: Mapping[str, object], places: Sequence[str], values: Sequence[str]) -> bool:
    """Whether an option is one of the places, or one of the values or inside one."""
    return any(option in places or any(f'{option}.'.startswith(f'{value}.') for value in values) for option in options)


def _short(date) -> str:
    if isinstance(date, float):
        return f'{date:.4g}'
    if isinstance(date, Mapping):
        return ', '.join(f'{name} {_short(each)}' for name, each in date.items())
    return f'({", ".join(map(_short, date))})' if isinstance(date, Sequence) and not isinstance(date, str) else str(date)
