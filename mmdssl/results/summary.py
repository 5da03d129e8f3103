"""Tables of runs: what they trained, what came out with mean and spread over seeds, and in what their configs differ."""
from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from statistics import mean, median, stdev
from typing import Any

from mmdssl.checkpoint.config_data import OF_A_LOADER, OF_THE_RUN
from mmdssl.results.runs import Run
from mmdssl.results.tables import DASH, METRICS, Row, Section, Spread, compare, is_error, label, number

KNN = 'knn20_top1'
LONGEST = 120  # characters of a value of a config
BEFORE, BEST, LAST = 'before training', 'best', 'last'


@dataclass(frozen=True)
class Group:
    """Runs whose configs differ in nothing but the seed."""
    name: str
    runs: Sequence[Run]

    def times(self, number: int) -> str:
        """``'3 seeds'``, or ``'3 runs'`` where seeds repeat or are not known."""
        seeds = {run.seed for run in self.runs} - {None}
        return f'{number} {"seeds" if len(seeds) == len(self.runs) else "runs"}'


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Groups in the order of their first runs, called after the method, or, where that does not tell them apart, also after more."""
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe, []).append(run)
    groups = list(by_recipe.values())
    names = [same[0].method or same[0].name for same in groups]
    for other in (lambda same: same[0].config_file.stem if same[0].config_file else same[0].name, lambda same: same[0].name):
        names = [name if names.count(name) == 1 else f'{same[0].method or "run"} ({other(same)})' for name, same in zip(names, groups)]
    return [Group(name, same) for name, same in zip(names, groups)]


def main_metric(record: dict) -> str | None:
    """By which the evaluations of a task are compared: the first of its table's columns that the record has, for k-NN that of k = 20."""
    known = [name for name in (KNN, *METRICS.get(record['task'], ()), *record['metrics']) if record['metrics'].get(name) is not None]
    return known[0] if known else None


def best_and_last(run: Run) -> tuple[str, dict, dict] | None:
    """Of the evaluations during training: their main metric, the record in which it is best, and the last one."""
    during = [record for record in run.records if 'iteration' in record and main_metric(record)]
    if not during:
        return None
    name = main_metric(during[-1])
    alike = [record for record in during if record['task'] == during[-1]['task'] and record['metrics'].get(name) is not None]
    return name, best_of(alike, name), alike[-1]


def best_of(records: Iterable[dict], name: str) -> dict:
    """The first of those that are best by a metric, which at least one has."""
    found = [record for record in records if record['metrics'].get(name) is not None]
    return (min if is_error(name) else max)(found, key=lambda record: record['metrics'][name])


def loss_of_quality(run: Run) -> str | None:
    """What to know and to try where a run ended below its start; None where it did not, or where that is not known."""
    found = best_and_last(run)
    if not found:
        return None
    name, best, last = found
    start = next((record for record in run.records if record.get('iteration') == 0 and record['task'] == last['task']
                  and record['metrics'].get(name) is not None), None)
    before, after = start and start['metrics'][name], last['metrics'][name]
    if start is None or last is start or not (before < after if is_error(name) else before > after):
        return None
    ranks = [line['effective_rank'] for line in run.scalars if 'effective_rank' in line]
    rank = f'; effective rank {ranks[0]:.0f} -> {ranks[-1]:.0f}' if len(ranks) > 1 else ''
    kept = ' The best checkpoint is that of the weights it started from.' if best is start else f' It was best at {moment(best)}.'
    return (f'The run ended below its start: {readable(name)} {number(name, before)} -> {number(name, after)}{rank}.{kept} Try more epochs '
            '(few of them only undo the start), a lower learning rate, larger batches, and look at the crops and at what the collapse '
            'checks have logged.')


def moment(record: dict) -> str:
    """``'epoch 10'``, or ``'iteration 40000'`` where the run counts no epochs."""
    return f'epoch {record["epoch"]}' if record.get('epoch') or not record.get('iteration') else f'iteration {record["iteration"]}'


def trained(groups: Sequence[Group]) -> Section:
    """What was trained, on what and how, a column per group."""
    facts: list[tuple[str, Callable[[Group], Any]]] = [
        ('method', lambda group: group.runs[0].method),
        ('backbone', lambda group: _all(record.get('backbone') for run in group.runs for record in run.records)),
        ('training data', lambda group: _data(group.runs[0].config, 'train_dataloader')),
        ('images', lambda group: _of_sessions(group, 'images')),
        ('images per step', lambda group: _of_sessions(group, 'batch_size')),
        ('length', lambda group: '{1:,} {0}'.format(*group.runs[0].length) if group.runs[0].length else None),
        ('optimizer', lambda group: _optimizer(group.runs[0].config)),
        ('highest learning rate', lambda group: _all(f'{max(line["lr"] for line in run.scalars if "lr" in line):.3g}' for run in group.runs
                                                     if any('lr' in line for line in run.scalars))),
        ('seeds', lambda group: ', '.join(str(run.seed) for run in group.runs if run.seed is not None)),
        ('evaluated on', lambda group: _data(group.runs[0].config, 'val_dataloader')),
        ('config', lambda group: _all(run.config_file.name for run in group.runs if run.config_file)),
        ('device', lambda group: _of_sessions(group, 'device')),
    ]
    rows = [Row([name, *(str(value) if value not in (None, '') else DASH for value in values)]) for name, fact in facts
            if any(values := [fact(group) for group in groups]) and (name, values) != ('method', [group.name for group in groups])]
    title = 'What was trained' if any(group.runs[0].length for group in groups) else 'What was measured'
    return Section(title, ['', *(group.name for group in groups)], rows)


def runs_table(groups: Sequence[Group]) -> Section:
    """A row per run, and one per group of several with their mean and standard deviation; of a single run a row per value."""
    columns = [column for column in _columns([run for group in groups for run in group.runs])
               if any(_finite(column.value(run)) for group in groups for run in group.runs)]
    rows = []
    for group in groups:
        for run in group.runs:
            values = [column.show(value) if _finite(value := column.value(run)) else DASH for column in columns]
            rows.append(Row([run.name, *values, state(run), group.name, DASH if run.seed is None else str(run.seed)]))
        if len(group.runs) > 1:
            cells = []
            for column in columns:
                values = [value for value in map(column.value, group.runs) if _finite(value)]
                cells.append(f'{column.show(mean(values))} ± {column.deviation(stdev(values))}' if len(values) > 1 else DASH)
            rows.append(Row([f'{group.name}, mean of {group.times(len(group.runs))}', *cells, DASH, group.name, DASH], ours=True))
    head = ['run', *(column.name for column in columns), 'state', 'method', 'seed']
    if len(rows) == 1:
        return Section('Its run', ['', rows[0].cells[0]], [Row(pair) for pair in zip(head[1:-2], rows[0].cells[1:-2]) if pair[1] != DASH])
    sentences = ['± is the sample standard deviation.'] * any(len(group.runs) > 1 for group in groups)
    return Section('Runs', head, rows, sentences)


@dataclass(frozen=True)
class _Column:
    """Of the table of runs: what a run has in it, and how that and a standard deviation of it are written."""
    name: str
    value: Callable[[Run], float | None]
    show: Callable[[float], str]
    deviation: Callable[[float], str] = '{:.2g}'.format


def _columns(runs: Sequence[Run]) -> list[_Column]:
    found = {id(run): best_and_last(run) for run in runs}
    metrics = {each[0] for each in found.values() if each}
    columns = []
    if len(metrics) == 1:
        metric = metrics.pop()
        show = partial(number, metric)
        columns = [_Column(f'{readable(metric)}, {which}', lambda run, at=at: found[id(run)] and found[id(run)][at]['metrics'][metric],
                          show, show) for at, which in ((1, BEST), (2, LAST))]
    logged = dict.fromkeys(name for run in runs for line in run.scalars for name in line)
    names = ['loss', *(name for name in logged if 'entropy' in name), 'effective_rank']
    columns += [_Column(f'{readable(name)}, last', partial(last_value, name=name), '{:.4g}'.format) for name in names]
    # minutes where nothing took more than two hours
    unit, factor = ('minutes', 60) if max((hours(run) or 0 for run in runs), default=0) <= 2 else ('hours', 1)
    return [*columns, _Column('images per second', speed, '{:.3g}'.format),
            _Column(unit, lambda run: None if hours(run) is None else factor * hours(run), '{:.1f}'.format)]


def state(run: Run) -> str:
    if run.finished is None:
        return DASH
    if run.finished:
        return 'finished'
    return f'not finished: {run.progress:,} of {run.length[1]:,} {run.length[0]}' if run.length else 'not finished'


def last_value(run: Run, name: str) -> float | None:
    """Of a scalar, the one logged last."""
    return next((line[name] for line in reversed(run.scalars) if name in line), None)


def speed(run: Run) -> float | None:
    """Images per second: the median of what was logged."""
    logged = [line['images_per_second'] for line in run.scalars if 'images_per_second' in line]
    return median(logged) if logged else None


def hours(run: Run) -> float | None:
    """Of all sessions; None where the end of one is not known."""
    try:
        seconds = [(datetime.fromisoformat(session['finished']) - datetime.fromisoformat(session['started'])).total_seconds()
                   for session in run.sessions]
    except (KeyError, TypeError, ValueError):
        return None
    return sum(seconds) / 3600 if seconds else None


def results(groups: Sequence[Group]) -> list[Section]:
    """A table per evaluation: our records with mean and spread over seeds, above the published rows of the same setting.

    Of the evaluations during training there are the one before it, of several runs their mean alone, the best and the last. Records of
    another work dir, such as the benchmark's, whose weights are the backbone file of one of the runs belong to that run.
    """
    by_source = {run.source: (group, run) for group in groups for run in group.runs if run.source}
    by_data: dict[tuple, list[tuple[Group, Run, str, dict]]] = {}
    for group in groups:
        for run in group.runs:
            for kind, record in _telling(run, len(group.runs) == 1):
                owner = by_source.get(record.get('source'), (group, run)) if 'source' in record else (group, run)
                key = record['task'], record.get('dataset_name'), record.get('dataset')
                by_data.setdefault(key, []).append((*owner, kind, record))
    sections = []
    for entries in by_data.values():
        data = _all(_data(run.config, 'val_dataloader') for _, run, kind, _ in entries if kind)
        for section in compare(_rows(entries)):
            sentences = [f'Data: {data}.'] * bool(data)
            if all(row.ours or not row.note for row in section.rows):  # published ones have their source
                sentences.append('There are no published rows of this evaluation.')
            means = [row for row in section.rows if any('±' in cell for cell in row.cells)]
            rows = [replace(row, ours=row in means) if means else row for row in section.rows]
            sections.append(replace(section, rows=rows, sentences=[*section.sentences, *sentences]))
    return sections


def _telling(run: Run, single: bool) -> list[tuple[str, dict]]:
    """The records of a run that a table shows, each with what it is of its kind; nothing for one that stands alone.

    The best one is left out where it is the last or the first one and there is no mean of several to be taken.
    """
    alone = [('', record) for record in run.records if 'iteration' not in record]
    during: dict[tuple, list[dict]] = {}
    for record in run.records:
        if 'iteration' in record and main_metric(record):
            during.setdefault((record['task'], record.get('dataset'), record.get('job')), []).append(record)
    chosen = []
    for records in during.values():
        best = best_of(records, main_metric(records[-1]))
        chosen += [(BEFORE, record) for record in records if not record['iteration']]
        chosen += [(LAST, record) for record in records[-1:] if record['iteration']]
        chosen += [(BEST, best)] * (not single or all(best is not record for _, record in chosen))
    return chosen + alone


def _rows(entries: Sequence[tuple[Group, Run, str, dict]]) -> list[dict]:
    """Records as ``compare`` takes them, the means of each group above its runs."""
    def alike(entry: tuple[Group, Run, str, dict]) -> tuple:
        group, _, kind, record = entry
        return group.name, kind, *(record.get(name) for name in ('framework', 'backbone', 'job', 'recipe', 'weights'))
    rows = []
    for key in dict.fromkeys(map(alike, entries)):
        same = [entry for entry in entries if alike(entry) == key]
        kind = key[1]
        single = [_named(record, run, kind) for _, run, kind, record in same]
        runs = {run.name for _, run, _, _ in same}
        if len(runs) == len(same) > 1:
            rows.append(_mean(single, same[0][0], kind))
            if kind == BEFORE:
                continue
        rows += single
    return rows


def _named(record: dict, run: Run, kind: str) -> dict:
    main = main_metric(record)
    metrics = {name: record['metrics'][name] for name in sorted(record['metrics'], key=lambda name: name != main)}
    named = {'weights_name': ', '.join(filter(None, (run.name, kind))), **record, 'metrics': metrics}
    if 'framework' not in record and 'pretrain_method' not in record and 'method' in record:  # an evaluation of the pretraining itself
        named.update(pretrain_method=record['method'], **({'pretrain_epochs': record['epoch']} if 'epoch' in record else {}))
    return named


def _mean(records: Sequence[dict], group: Group, kind: str) -> dict:
    names = [name for name in records[0]['metrics'] if all(record['metrics'].get(name) is not None for record in records)]
    columns = {name: [record['metrics'][name] for record in records] for name in names}
    name = ', '.join(filter(None, (f'mean of {group.times(len(records))}', kind)))
    epochs = {record.get('pretrain_epochs') for record in records}
    known = {key: value for key, value in records[0].items() if key not in ('weights', 'pretrain_epochs')}
    return {**known, **({'pretrain_epochs': epochs.pop()} if len(epochs) == 1 and None not in epochs else {}),
            'weights_name': f'{label(records[0])}, {name}' if records[0].get('weights') == 'random' else name,
            **({'pretrain_method': None} if records[0].get('weights') == 'random' else {}),
            'metrics': {name: Spread(mean(values), stdev(values)) for name, values in columns.items()}}


def every_record(run: Run) -> list[Section]:
    """All that was measured, a table per task and a row per record."""
    tasks: dict[str, list[dict]] = {}
    for record in run.records:
        tasks.setdefault(record['task'], []).append(record)
    sections = []
    for task, records in tasks.items():
        names = list(dict.fromkeys(name for record in records for name in record['metrics']))
        rows = [Row([', '.join(str(record[key]) for key in ('task', 'dataset_name', 'job') if record.get(key)),
                     *(str(record.get(key, DASH)) for key in ('epoch', 'iteration')),
                     *(number(name, record['metrics'].get(name)) for name in names),
                     str(record.get('time', DASH))[:16].replace('T', ' '), str(record.get('checkpoint', DASH))]) for record in records]
        columns = ['evaluation', 'epoch', 'iteration', *map(readable, names), 'time', 'weights']
        sections.append(Section(f'Every record of {run.name}{f", {task}" if len(tasks) > 1 else ""}', columns, rows))
    return sections


def differences(groups: Sequence[Group]) -> Section | None:
    """What the configs of groups do not have in common, but for where and how they ran; None where there is nothing to compare."""
    known = [group for group in groups if group.runs[0].config]
    if len(known) < 2:
        return None
    configs = [{key: value for key, value in group.runs[0].config.items() if key not in OF_THE_RUN | {'randomness'}} for group in known]
    rows = [Row([path, *map(_short, values)]) for path, values in _differing('', configs)]
    return Section('In what the configs differ', ['setting', *(group.name for group in known)], rows,
                   [] if rows else ['In nothing but their seeds, and where and how they ran.'])


MISSING = object()


def _differing(path: str, values: list) -> list[tuple[str, list]]:
    """Paths at which values differ, as deep as all of them have the same structure."""
    if all(value == values[0] for value in values[1:]):
        return []
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value if key not in OF_A_LOADER)
        steps = [(f'{path}.{key}' if path else key, [value.get(key, MISSING) for value in values]) for key in keys]
    elif all(isinstance(value, (list, tuple)) and len(value) == len(values[0]) for value in values):
        steps = [(f'{path}[{i}]', list(items)) for i, items in enumerate(zip(*values))]
    else:
        return [(path, values)]
    if isinstance(values[0], (list, tuple)) and not any(isinstance(item, (dict, list)) for value in values for item in value):
        return [(path, values)]
    return [found for step in steps for found in _differing(*step)]


def _short(value: Any) -> str:
    if value is MISSING:
        return DASH
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}...'


def _of_sessions(group: Group, key: str) -> str | None:
    return _all(f'{session[key]:,}' if isinstance(session[key], int) else session[key] for run in group.runs for session in run.sessions
                if session.get(key) is not None)


def _data(config: dict, loader: str) -> str | None:
    """What the dataset of a loader reads."""
    waiting, root, file = [config.get(loader)], None, None
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, dict):
            root = root or next((node[key] for key in ('data_root', 'root') if isinstance(node.get(key), str) and node[key]), None)
            file = file or next((node[key] for key in ('ann_file', ) if isinstance(node.get(key), str) and node[key]), None)
            waiting += [node[key] for key in ('dataset', 'datasets') if key in node]
        elif isinstance(node, list):
            waiting += node
    return '/'.join(part.rstrip('/') for part in (root, file) if part) or None


def _optimizer(config: dict) -> str | None:
    optimizer = (config.get('optim_wrapper') or {}).get('optimizer') if isinstance(config.get('optim_wrapper'), dict) else None
    if not isinstance(optimizer, dict):
        return None
    rest = ', '.join(f'{key.replace("_", " ")} {value}' for key, value in optimizer.items() if key not in ('type', 'lr'))
    return f'{optimizer.get("type")} ({rest})' if rest else str(optimizer.get('type'))


def readable(name: str) -> str:
    """A scalar or a metric in words."""
    found = re.fullmatch(r'knn(\d+)_top(\d+)', name)
    if not found:
        return name.replace('_', ' ')
    return f'k-NN (k = {found[1]})' if found[2] == '1' else f'k-NN top-{found[2]} (k = {found[1]})'


def _all(values: Iterable) -> str | None:
    """Different values, in the order in which they come."""
    return ', '.join(dict.fromkeys(str(value) for value in values if value is not None)) or None


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
