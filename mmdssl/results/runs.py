"""What a work dir tells of its run. Nothing in it need be there, or whole."""
from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mmdssl.checkpoint.config_data import fingerprint_config, read_config
from mmdssl.errors import InputError
from mmdssl.results.records import fingerprint_file, read_records

SESSION = 'session.json'  # beside the log of a session, which is a run from its start, or from where it was resumed, to its end
COUNTS = 'iteration', 'epoch_length', 'images', 'batch_size', 'processes'  # the numbers in it
RECORDS = 'results.jsonl'
# What is text in a record that has it.
TEXTS = 'dataset_name', 'framework', 'backbone', 'method', 'dataset', 'checkpoint', 'job', 'weights', 'source', 'recipe', 'weights_name'
BACKBONE = 'backbone.safetensors'
PICTURES = ('*.png', 'pictures/**/*.png', 'vis*/**/*.png', '*/vis_data/**/*.png')


@dataclass
class Run:
    """A work dir.

    Attributes:
        folder: The work dir.
        name: What it is called among those that it is read with.
        config: As it ran last; empty where none can be read.
        config_file: Where the config is.
        sessions: What :class:`mmdssl.engine.hooks.ReportHook` noted of each start, oldest first.
        scalars: Lines of the training log, by ``step``, each step once.
        records: Of its evaluations, oldest first.
        pictures: PNG files, of those that differ in their step only the last.
        notes: What is missing or damaged, in sentences.
    """
    folder: Path
    name: str = ''
    config: dict = field(default_factory=dict)
    config_file: Path | None = None
    sessions: list[dict] = field(default_factory=list)
    scalars: list[dict] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str | None:
        methods = [record['method'] for record in self.records if 'method' in record and 'source' not in record]
        kind = _at(self.config, 'model', 'type')
        return kind.rpartition('.')[2] if isinstance(kind, str) else next(iter(methods), None)

    @property
    def seed(self) -> int | None:
        return _at(self.config, 'randomness', 'seed')

    @cached_property
    def recipe(self) -> str:
        """A short name for what the config computes, whatever its seed; the folder's where there is no config."""
        if not self.config:
            return str(self.folder)
        randomness = self.config.get('randomness')
        seedless = {key: value for key, value in randomness.items() if key != 'seed'} if isinstance(randomness, dict) else randomness
        return fingerprint_config({**self.config, 'randomness': seedless})

    @cached_property
    def backbone_file(self) -> Path | None:
        """The pretrained backbone that the run left."""
        path = self.folder / BACKBONE
        return path if path.is_file() else None

    @cached_property
    def source(self) -> str | None:
        """The fingerprint by which records name the file of the backbone."""
        return fingerprint_file(self.backbone_file) if self.backbone_file else None

    @property
    def epoch_length(self) -> float | None:
        """Iterations of an epoch, where it is known."""
        for session in reversed(self.sessions):
            if session.get('epoch_length'):
                return session['epoch_length']
        ratios = {record['iteration'] / record['epoch'] for record in self.records if record.get('epoch') and record.get('iteration')}
        return ratios.pop() if len(ratios) == 1 else None

    @property
    def length(self) -> tuple[str, int] | None:
        """``('epochs', 10)`` or ``('iterations', 40000)``, of the whole run."""
        for key, unit in (('max_epochs', 'epochs'), ('max_iters', 'iterations')):
            number = _at(self.config, 'train_cfg', key)
            if isinstance(number, int):
                return unit, number
        return None

    @property
    def progress(self) -> int:
        """Of ``length``, how much is known to be done; an epoch that was begun does not count."""
        if self.length is None or self.length[0] == 'iterations':
            return max([0, *(line['step'] for line in self.scalars), *(record.get('iteration', 0) for record in self.records)])
        if self.epoch_length and self.scalars:
            logged = self.scalars[-1]['step'] / self.epoch_length
        else:
            logged = max([0, *(line.get('epoch', 1) - 1 for line in self.scalars)])
        return math.floor(max([logged, *(record.get('epoch', 0) for record in self.records)]))

    @property
    def finished(self) -> bool | None:
        """None where there was no training, or nobody knows."""
        if self.sessions:
            return 'finished' in self.sessions[-1]
        return self.progress >= self.length[1] if self.length and (self.scalars or self.records) else None


def read_runs(folders: Iterable[str | Path]) -> tuple[list[Run], list[str]]:
    """The runs of some work dirs, each once and each with a name of its own, and sentences about folders that are none.

    Raises:
        InputError: None of them is one.
    """
    found = [_run_or_complaint(folder) for folder in dict.fromkeys(Path(folder).resolve() for folder in folders)]
    runs = [each for each in found if isinstance(each, Run)]
    complaints = [each for each in found if isinstance(each, str)]
    if not runs:
        raise InputError('; '.join(complaints))
    for run, name in zip(runs, _unique_names([run.folder for run in runs])):
        run.name = name
    return runs, complaints


def _run_or_complaint(folder: Path) -> Run | str:
    try:
        return read_run(folder)
    except InputError as error:
        return str(error)


def read_run(folder: str | Path) -> Run:
    """
    Raises:
        InputError: There is no such folder, or no run in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"the work dir '{folder}' {'is a file' if folder.exists() else 'does not exist'}: give the folder in which a run "
                         'keeps its log')
    if not _is_run(folder):
        inside = sorted(each.name for each in folder.iterdir() if each.is_dir() and _is_run(each))
        advice = f'give those of its folders that are ({", ".join(inside[:3])}{", ..." * (len(inside) > 3)})' if inside else \
            'give the folder in which a run keeps its log'
        raise InputError(f"'{folder}' is no work dir, it holds neither a log nor {RECORDS}: {advice}")
    run = Run(folder, folder.name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        _read(run)
    run.notes += dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    return run


def _is_run(folder: Path) -> bool:
    return (folder / RECORDS).is_file() or any(folder.glob('*/vis_data')) or any(folder.glob(f'*/{SESSION}'))


def _read(run: Run) -> None:
    for path in sorted(run.folder.glob('*.py'), key=lambda path: path.stat().st_mtime, reverse=True):
        run.config = read_config(path.read_text(errors='replace')) or {}
        if run.config:
            run.config_file = path
            break
    trained = any(run.folder.glob('*/vis_data'))
    if not run.config and trained:
        run.notes.append('The config cannot be read, or is not there: what was trained is told by the records alone.')
    for folder in sorted({path.parent for name in ('vis_data', SESSION) for path in run.folder.glob(f'*/{name}')}):
        _read_session(run, folder)
    if (run.folder / RECORDS).is_file():
        run.records = _in_order(record for record in read_records(run.folder / RECORDS) if _is_record(record, run))
    run.pictures = _latest(path for pattern in PICTURES for path in run.folder.glob(pattern))
    if trained and run.length and not run.scalars:
        run.notes.append('Nothing has been logged of a training.')
    if run.scalars and not run.records:
        run.notes.append('Nothing has been evaluated.')


def _read_session(run: Run, folder: Path) -> None:
    session = {}
    if (folder / SESSION).is_file():
        try:
            session = json.loads((folder / SESSION).read_text(errors='replace'))
        except ValueError:
            session = None
        if not isinstance(session, dict) or not all(isinstance(session.get(name) or 0, int) for name in COUNTS):
            run.notes.append(f'{folder / SESSION} is damaged, so how the run was started is not known.')
            session = {}
    lines = [line for line in _logged(folder / 'vis_data') if type(line.get('iter')) is int and type(line.get('step')) is int]
    start = session.get('iteration', lines[0]['step'] - 1 if lines else math.inf)
    # A resumed run repeats what came after its checkpoint, one that begins again all.
    by_step = {line['step']: line for line in run.scalars if line['step'] <= start} | {line['step']: line for line in lines}
    run.scalars = [by_step[step] for step in sorted(by_step)]
    if session:
        run.sessions.append(session)


def _logged(folder: Path) -> list[dict]:
    """Scalars as MMEngine's LocalVisBackend and ours write them, or, without those, its TensorboardVisBackend."""
    file = folder / 'scalars.json'
    lines = read_records(file) if file.is_file() else []
    if not lines and any(folder.glob('events.out.tfevents.*')):
        lines = _tensorboard(folder)
    return [{name: value for name, value in line.items() if isinstance(value, (int, float))} for line in lines]


def _tensorboard(folder: Path) -> list[dict]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    try:
        events = EventAccumulator(str(folder), size_guidance=dict(scalars=0)).Reload()
        names = events.Tags()['scalars']
        lines = {event.step: dict(step=event.step) for event in (events.Scalars('iter') if 'iter' in names else [])}
        for name in names:
            for event in events.Scalars(name):
                if event.step in lines:
                    lines[event.step][name] = int(event.value) if name in ('iter', 'epoch', 'step') else event.value
    except Exception as error:  # whatever a damaged file does to TensorBoard
        warnings.warn(f'{folder}: TensorBoard cannot read its file ({type(error).__name__}: {error})', stacklevel=2)
        return []
    return list(lines.values())


def _is_record(record: dict, run: Run) -> bool:
    metrics = record.get('metrics')
    whole = (isinstance(record.get('task'), str) and isinstance(metrics, dict)
             and all(isinstance(value, (int, float)) or value is None for value in metrics.values())
             and all(isinstance(record.get(key, 0), int) for key in ('epoch', 'iteration'))
             and all(isinstance(record.get(key, ''), str) for key in TEXTS))
    if not whole:
        run.notes.append(f'A line of {RECORDS} is no record of an evaluation and is left out.')
    return whole


def _in_order(records: Iterable[dict]) -> list[dict]:
    """Of evaluations that were repeated, by a run that began again or by hand, the last."""
    kept: list[dict] = []
    for record in records:
        def replaced(other: dict, new: dict = record) -> bool:
            if any(other.get(key) != new.get(key) for key in ('task', 'dataset_name', 'framework', 'dataset', 'job', 'weights')):
                return False
            if 'iteration' in new or 'iteration' in other:
                return 'iteration' in new and 'iteration' in other and other['iteration'] >= new['iteration']
            return other.get('checkpoint') == new.get('checkpoint') and other.get('source') == new.get('source')
        kept = [*(other for other in kept if not replaced(other)), record]
    return kept


def _latest(paths: Iterable[Path]) -> list[Path]:
    """Of pictures ``name_STEP.png``, the one of the last step."""
    last: dict[tuple[Path, str], tuple[int, Path]] = {}
    for path in sorted(set(paths)):
        name, step = re.fullmatch(r'(.*?)_?(\d*)', path.stem).groups()
        session = path.parent if 'vis_data' not in path.parts else Path('vis_data')
        if int(step or 0) >= last.get((session, name), (-1, ))[0]:
            last[session, name] = int(step or 0), path
    return [path for _, path in last.values()]


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """Of each path, as few parts from its end as tell it from the others."""
    def name(path: Path) -> str:
        for length in range(1, len(path.parts)):
            end = path.parts[-length:]
            if sum(other.parts[-length:] == end for other in folders) == 1:
                return '/'.join(end)
        return str(path)
    return [name(path) for path in folders]


def _at(node: object, *keys: str) -> object:
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node
