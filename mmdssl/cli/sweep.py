"""Evaluate many checkpoints by many configs: one table.

Each evaluation is a process of tools/test.py, or of tools/train.py --pretrained where the config trains, in a folder of its own. With
--slurm they are jobs of submitit (pip install submitit). The same command goes on where it was ended: what has a result is not run again.
"""
from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mmdssl.cli.benchmark import TAIL, WIDTH, config_text, final_record, prepare, pretraining, tool
from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError
from mmdssl.home import find_config
from mmdssl.results.records import fingerprint_file, fingerprint_text
from mmdssl.results.tables import Row, Section, label, number, to_html, to_markdown, to_text

POLL = 2.  # seconds


@dataclass(frozen=True)
class Evaluation:
    """Of a checkpoint by a config; ``source`` is the checkpoint's fingerprint."""
    checkpoint: Path
    source: str
    config: Path
    folder: Path
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        return f'{self.folder.parent.name}/{self.folder.name}'

    @property
    def file(self) -> Path:
        return self.config

    @cached_property
    def trains(self) -> bool:
        return json.loads(config_text(self.config)).get('train_dataloader') is not None

    @property
    def key(self) -> dict[str, str]:
        """What its result depends on."""
        return dict(source=self.source, recipe=fingerprint_text([config_text(self.config), *self.options]))

    @property
    def command(self) -> list[str]:
        rest = ['--work-dir', self.folder, *self.options]
        if self.trains:
            return tool('train', 1, [self.config], '--pretrained', self.checkpoint, '--resume', *rest)
        return tool('test', 1, [self.config, self.checkpoint], *rest)

    @property
    def log(self) -> Path:
        return self.folder / 'log.txt'

    def result(self) -> dict | None:
        """Its record, once it has ended."""
        note = self.folder / 'job.json'
        if not note.is_file() or note.read_text(errors='replace') != json.dumps(self.key):
            return None
        with suppress(OSError):  # ended before it has written its config
            return final_record(self.folder, self)
        return None


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 1 where an evaluation failed; else see :func:`mmdssl.cli.guard.guarded`."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended too
    failed: list[Evaluation] = []
    return guarded(lambda: failed.extend(run(args)), lambda: 'the same command goes on from here') or int(bool(failed))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='.pth or .safetensors files, from mmdssl or anywhere')
    parser.add_argument('--configs', nargs='+', required=True, metavar='CONFIG', help='such as configs/classification/knn.py')
    parser.add_argument('--data', nargs='+', default=[], metavar='[NAME=]FOLDER',
                        help='root of the data set of all configs, or of the config of that name (knn=FOLDER)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='NAME.KEY=VALUE',
                        help='change values of the config of that name, such as knn.test_evaluator.k=10')
    parser.add_argument('--metrics', nargs='+', metavar='METRIC', help='columns of the table; the first of each evaluation by default')
    parser.add_argument('--jobs', type=int, metavar='N', help='evaluations at a time on this machine; one for each of --devices by default')
    parser.add_argument('--devices', nargs='+', default=[], metavar='I', help='GPUs of this machine, of which each evaluation gets one')
    parser.add_argument('--slurm', nargs='*', metavar='KEY=VALUE',
                        help='submit them with submitit, with its parameters: slurm_partition=gpu gpus_per_node=1 timeout_min=120')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/sweep'))
    parser.add_argument('--table-only', action='store_true', help='run nothing, make the table of the results that are there')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> list[Evaluation]:
    """Run what is not done yet and make the table; returns the evaluations that failed."""
    from rich.console import Console

    from mmdssl.engine.run_lock import hold
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f'--jobs must be at least 1, not {args.jobs}')
    evaluations = plan(args)
    say = Console(markup=False, highlight=False, soft_wrap=True).print
    failed = []
    if not args.table_only:
        args.work_dir.mkdir(parents=True, exist_ok=True)
        hold(args.work_dir)
        open_ones = [each for each in evaluations if each.result() is None]
        if len(open_ones) < len(evaluations):
            say(f'{len(evaluations) - len(open_ones)} of {len(evaluations)} evaluations: done before')
        for each in open_ones:
            prepare(each.folder, each.key)
        ended = locally(open_ones, args) if args.slurm is None else by_submitit(open_ones, args)
        for i, (each, code) in enumerate(ended, 1):
            if code == 0 and each.result():
                say(f'{each.name} ({i} of {len(open_ones)}): done')
                continue
            failed.append(each)
            lines = each.log.read_text(errors='replace').splitlines() if each.log.is_file() else []
            say('\n'.join([f'{each.name} ({i} of {len(open_ones)}) failed, log in {each.log}:', *lines[-TAIL:]]))
    report(args, evaluations)
    return failed


def plan(args: argparse.Namespace) -> list[Evaluation]:
    """Every checkpoint by every config.

    Raises:
        InputError: A file is missing, or an option is for no config.
    """
    configs = {}
    for name in args.configs:
        file = find_config(name)
        if file is None:
            raise InputError(f"config '{name}' does not exist: give the path of a config file, such as configs/classification/knn.py")
        if configs.setdefault(file.stem, file.resolve()) != file.resolve():
            raise InputError(f"two configs are called '{file.stem}': sweep over them one after another, with another --work-dir")
    options = {name: [] for name in configs}
    for entry in sorted(args.data, key=lambda entry: '=' in entry):  # what is for one config after what is for all
        name, equals, folder = entry.partition('=')
        if equals and name not in configs or not Path(folder if equals else entry).is_dir():
            raise InputError(f"--data '{entry}' is no folder, or of none of the configs {', '.join(configs)}: write FOLDER or NAME=FOLDER")
        for each in (name, ) if equals else configs:
            options[each] = ['--data', str(Path(folder if equals else entry).resolve())]
    changes: dict[str, list[str]] = {}
    for option in args.cfg_options:
        name, _, rest = option.partition('.')
        if name not in configs or '=' not in rest:
            raise InputError(f"--cfg-options '{option}' is for no config of this sweep: write NAME.KEY=VALUE with one of "
                             f'{", ".join(configs)} as NAME')
        changes.setdefault(name, []).append(rest)
    for name, values in changes.items():
        options[name] += ['--cfg-options', *values]
    evaluations = {}
    for checkpoint in args.checkpoints:
        path = Path(checkpoint).resolve()
        if not path.is_file():
            raise InputError(f"checkpoint '{checkpoint}' does not exist: give paths of .pth or .safetensors files")
        source = fingerprint_file(path)
        for name, file in configs.items():
            folder = (args.work_dir / f'{path.parent.name}-{path.stem}-{source[:6]}' / name).resolve()
            evaluations[folder] = Evaluation(path, source, file, folder, tuple(options[name]))
    return list(evaluations.values())


def environment() -> dict[str, str]:
    return dict(os.environ, PYTHON=sys.executable, PYTHONUNBUFFERED='1')


def locally(evaluations: list[Evaluation], args: argparse.Namespace) -> Iterator[tuple[Evaluation, int]]:
    """Run them, some at a time; yields them with their exit codes as they end, and ends them where it is ended itself."""
    number = args.jobs or max(1, len(args.devices))
    places: queue.Queue[str | None] = queue.Queue()
    for i in range(number):
        places.put(args.devices[i % len(args.devices)] if args.devices else None)
    running: set[subprocess.Popen] = set()
    ended: queue.Queue[tuple[Evaluation, int]] = queue.Queue()
    stopped = False

    def work(each: Evaluation) -> None:
        place, code = places.get(), 1
        try:
            if stopped:
                return
            here = environment() | ({} if place is None else dict(CUDA_VISIBLE_DEVICES=place))
            with open(each.log, 'a') as log, subprocess.Popen(each.command, env=here, stdin=subprocess.DEVNULL, stdout=log,
                                                              stderr=subprocess.STDOUT, start_new_session=True) as process:
                running.add(process)
                if stopped:
                    end(process)
                code = process.wait()
                running.discard(process)
        finally:
            places.put(place)
            ended.put((each, code))

    with ThreadPoolExecutor(number) as pool:
        try:
            for each in evaluations:
                pool.submit(work, each)
            for _ in evaluations:
                yield ended.get()
        except BaseException:
            stopped = True
            for process in list(running):
                end(process)
            raise


def end(process: subprocess.Popen) -> None:
    """Also the workers of its data loaders."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def by_submitit(evaluations: list[Evaluation], args: argparse.Namespace) -> Iterator[tuple[Evaluation, int]]:
    """The same as jobs of Slurm, or, where there is no Slurm, of submitit on this machine."""
    try:
        import submitit
    except ImportError:
        raise InputError('--slurm needs submitit: pip install submitit, or leave it out to run on this machine') from None
    executor = submitit.AutoExecutor(args.work_dir.resolve() / 'submitit')
    executor.update_parameters(**dict(name='mmdssl-sweep', **parameters(args.slurm)))
    jobs = {}
    try:
        for each in evaluations:
            shell = f'exec {shlex.join(map(str, each.command))} >> {shlex.quote(str(each.log))} 2>&1'
            jobs[executor.submit(submitit.helpers.CommandFunction(['bash', '-c', shell], verbose=False))] = each
        while jobs:
            for job in [job for job in jobs if job.done()]:
                each = jobs.pop(job)
                if job.exception() is not None and not each.log.is_file():
                    each.log.write_text(str(job.exception()))
                yield each, int(job.exception() is not None)
            if jobs:
                time.sleep(POLL)
    except BaseException:
        for job in jobs:
            job.cancel()
        raise


def parameters(words: list[str]) -> dict[str, str | int]:
    """``KEY=VALUE`` as submitit takes them."""
    found: dict[str, str | int] = {}
    for word in words:
        key, equals, value = word.partition('=')
        if not equals:
            raise InputError(f"--slurm '{word}' is not KEY=VALUE: write for instance slurm_partition=gpu")
        found[key] = int(value) if re.fullmatch(r'\d+', value) else value
    return found


def report(args: argparse.Namespace, evaluations: list[Evaluation]) -> None:
    """Print the table of what is done and write it to ``table.md`` and ``table.html``, and its records to ``results.jsonl``."""
    from rich.console import Console
    found = {each: record for each in evaluations if (record := each.result())}
    if not found:
        if args.table_only:
            raise InputError(f"'{args.work_dir}' has no results of these checkpoints and configs: leave --table-only out")
        return
    records = [{**record, **each.key, 'job': each.name, 'measured': each.folder.name, 'changes': list(each.options),
                'weights_name': f'{each.checkpoint.parent.name}/{each.checkpoint.name}', **pretraining(each.checkpoint)}
               for each, record in found.items()]
    columns = dict.fromkeys((record['measured'], name) for record in records for name in chosen(record, args.metrics))
    rows: dict[str, dict] = {}
    for record in records:
        rows.setdefault(record['source'], dict(label=label(record))).update(
            {(record['measured'], name): value for name, value in record['metrics'].items()})
    lines = [Row([row['label'], *(number(column[1], row.get(column)) for column in columns)]) for row in rows.values()]
    titles = [f'{config}: {name.replace("_", " ")}' for config, name in columns]
    section = Section(f'{len(rows)} checkpoints', ['checkpoint', *titles], lines, missing(evaluations, found))
    console = Console(highlight=False)
    Console(width=max(console.width, WIDTH), highlight=False).print(to_text([section]))
    (args.work_dir / 'results.jsonl').write_text(''.join(json.dumps(record) + '\n' for record in records))
    (args.work_dir / 'table.md').write_text(to_markdown([section], 'Sweep'))
    (args.work_dir / 'table.html').write_text(to_html([section], 'Sweep'))
    console.print(f'Also in {args.work_dir / "table.md"}, {args.work_dir / "table.html"} and, all metrics, '
                  f'{args.work_dir / "results.jsonl"}', markup=False, soft_wrap=True)


def chosen(record: dict, metrics: list[str] | None) -> list[str]:
    """Names of a record's metrics that the table has."""
    return [name for name in record['metrics'] if name in metrics] if metrics else [*record['metrics']][:1]


def missing(evaluations: list[Evaluation], found: dict[Evaluation, dict]) -> list[str]:
    names = [each.name for each in evaluations if each not in found]
    return [f'Without a result: {", ".join(names)}.'] if names else []
