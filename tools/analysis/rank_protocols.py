"""Which protocol on frozen features tells how well networks do when they are fine-tuned? Two tables.

    python tools/analysis/rank_protocols.py OUT --network NAME=FILE [FILE ...] --network ... \\
        --job CONFIG=DATA [--job ...] --target CONFIG=DATA [--target ...] [--random SEED ...]

Each network (the FILEs of a NAME are its seeds) is measured by each job, a config of ``configs`` without ``.py`` with the root of its
data; targets are jobs too, those that the others should predict. ``--random`` adds random weights of the first file's network. Jobs
run on one thread each; finished ones are not run again. The first table has every score, mean and standard deviation over the seeds,
with the seconds of a processor that a job takes (without imports); the second one Spearman's rank correlation of every score with
those of the targets over all networks and seeds, and over the means of the networks.
"""
from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from mmengine.config import Config
from rich.console import Console
from scipy.stats import spearmanr

from mmdssl.cli import test, train
from mmdssl.results.records import read_records

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """A network, one of its seeds, and a job."""
    network: str
    checkpoint: Path
    seed: int
    config: str
    data: Path
    folder: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--network', action='append', nargs='+', required=True, metavar=('NAME=FILE', 'FILE'))
    parser.add_argument('--job', action='append', default=[], metavar='CONFIG=DATA')
    parser.add_argument('--target', action='append', required=True, metavar='CONFIG=DATA')
    parser.add_argument('--random', type=int, nargs='*', default=[], metavar='SEED')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='at a time')
    args = parser.parse_args()
    networks = {name: [first, *rest] for name, first, *rest in ([*given[0].split('=', 1), *given[1:]] for given in args.network)}
    seeds = {'random': [(next(iter(networks.values()))[0], seed) for seed in args.random]} if args.random else {}
    seeds |= {name: [(file, seed) for seed, file in enumerate(files)] for name, files in networks.items()}
    targets, jobs = ([tuple(each.split('=', 1)) for each in given] for given in (args.target, args.job))
    runs = [Run(name, Path(file).resolve(), seed, config, Path(data).resolve(), args.out / config.split('/')[1] / f'{name}-s{seed}')
            for config, data in [*jobs, *targets] for name, files in seeds.items() for file, seed in files]
    import mmdet.apis  # noqa: F401  here, that jobs need not import it, and after mmdssl, which lends mmcv its operators
    import mmseg.apis  # noqa: F401
    torch.set_num_threads(1)
    fork_each(measure, [run for run in runs if not (run.folder / 'seconds.json').is_file()], args.jobs)
    text = '\n\n'.join(tables(runs, [config for config, _ in targets]))
    (args.out / 'tables.md').write_text(text + '\n')
    Console(width=250).print(text, highlight=False, markup=False)
    return 0


def fork_each(job: Callable[[Run], None], runs: list[Run], number: int) -> None:
    """Do a job for each run in a process of its own, so many at a time; they share what is imported."""
    for i, run in enumerate(runs):
        if i >= number:
            os.wait()
        if not os.fork():
            try:
                job(run)
            finally:
                sys.stdout.flush()
                os._exit(0)
    for _ in runs[:number]:
        os.wait()


def measure(run: Run) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    config = ROOT / f'configs/{run.config}.py'
    if 'train_dataloader' in Config.fromfile(config):
        command, arguments = train.main, [config, '--pretrained', run.checkpoint]
    else:
        command, arguments = test.main, [config, run.checkpoint]
    arguments += ['--data', run.data, '--work-dir', run.folder, *(['--random'] if run.network == 'random' else []),
                  '--cfg-options', f'randomness.seed={run.seed}']
    console = os.dup(2)
    with open(run.folder / 'console.log', 'w') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        code = command([str(each) for each in arguments])
    if code:
        os.write(console, f'{run.folder} failed, see its console.log\n'.encode())
    else:
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        (run.folder / 'seconds.json').write_text(json.dumps(round(sum(each.ru_utime + each.ru_stime for each in used), 1)))


def tables(runs: list[Run], targets: list[str]) -> list[str]:
    """Markdown."""
    done = [run for run in runs if (run.folder / 'seconds.json').is_file()]
    scores: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for run in done:
        for name, value in read_records(run.folder / 'results.jsonl')[-1]['metrics'].items():
            scores.setdefault((run.config, name), {})[run.network, run.seed] = value
    networks = list(dict.fromkeys(run.network for run in done))
    seconds = {config: mean(json.loads((run.folder / 'seconds.json').read_text()) for run in done if run.config == config)
               for config in dict.fromkeys(run.config for run in done)}
    first = ['| protocol | score | ' + ' | '.join(networks) + ' | seconds |', '|---' * (len(networks) + 3) + '|']
    for (config, name), found in scores.items():
        first.append(f'| {config} | {name} | ' + ' | '.join(spread(of(found, network)) for network in networks)
                     + f' | {seconds[config]:.0f} |')
    wanted = [key for key in scores if key[0] in targets]
    second = ['| protocol | score | ' + ' | '.join(f'{config}: {name}' for config, name in wanted) + ' |', '|---' * (len(wanted) + 2) + '|']
    for key, found in scores.items():
        second.append(f'| {key[0]} | {key[1]} | ' + ' | '.join(correlation(found, scores[target], networks) for target in wanted) + ' |')
    return ['\n'.join(first), '\n'.join(second)]


def of(found: dict[tuple[str, int], float], network: str) -> list[float]:
    return [value for (name, _), value in found.items() if name == network]


def spread(values: list[float]) -> str:
    if not values:
        return ''
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def correlation(one: dict[tuple[str, int], float], other: dict[tuple[str, int], float], networks: list[str]) -> str:
    """Over all that both have measured, and in brackets over the networks."""
    both = [key for key in one if key in other]
    means = [[mean(of(found, network)) for network in networks if of(one, network) and of(other, network)] for found in (one, other)]
    pairs = [[found[key] for key in both] for found in (one, other)]
    return ' '.join(form.format(spearmanr(a, b).statistic) for form, (a, b) in (('{:.2f}', pairs), ('({:.2f})', means)) if len(a) > 2)


if __name__ == '__main__':
    sys.exit(main())
