"""Kill training runs (SIGKILL, with their workers) at many moments, resume them, and compare with the run that was never killed.

Moments are places in the program (within a step, a half-written checkpoint, between a record and the best checkpoint, ...) or the n-th
event of the run, n from a seeded generator; some runs are killed several times. Each is resumed until it ends. Its weights, optimizer,
schedules, losses and files must then be those of the run that was never killed, bit by bit, and so must the records, each once.

    python tools/analysis/kills.py OUT [--variants dino bam ...]

``OUT`` keeps the runs and their logs; the images are generated. Exits with 1 where anything was lost.
"""
from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import mmengine.runner.runner
import numpy as np
import torch
import yapf.yapflib.yapf_api
from campaign import BAD, FINE, KILLED, Case, Outcome, report, run_case
from PIL import Image

import mmdssl
from mmdssl.checkpoint import files
from mmdssl.engine import loops
from mmdssl.engine import runner as engine_runner
from mmdssl.engine.hooks import CheckpointHook, CollapseHook, ExportBackboneHook, RecordHook
from mmdssl.engine.optim_wrapper import OptimWrapper
from mmdssl.engine.runner import Runner
from mmdssl.protocols.knn import KNNMetric
from mmdssl.results import records

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = '{base}'
model = dict(backbone=dict(arch=dict(embed_dim=24, depth=2, num_heads=2), img_size=32, drop_path_rate={drop_path}), {head})
train_dataloader = dict(batch_size=8, num_workers={workers}, persistent_workers={persistent}, dataset=dict(data_root='{data}/train'))
val_dataloader = dict(batch_size=8, num_workers=0, dataset=dict(data_root='{data}/val', resize=32, size=32))
val_cfg = dict(bank=dict(batch_size=8, num_workers=0, dataset=dict(data_root='{data}/train', resize=32, size=32)))
val_evaluator = dict(k=(3, ))
train_cfg = dict(max_epochs=4, val_interval={val_interval}, val_before_train=True)
default_hooks = dict(logger=dict(interval=2), checkpoint=dict({checkpoint}max_keep_ckpts=2, save_best='knn3_top1'){hooks})
log_processor = dict(window_size=2)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""
HEAD = 'head=dict(num_prototypes=16, hidden_dim=16, bottleneck_dim=8)'
PROJECTOR = 'projector=dict(hidden_dim=16, out_dim=8)'
EVENTS = 'events'  # file in which a whole run leaves how many there were


@dataclass(frozen=True)
class Variant:
    """A kind of run. ``every`` is the iterations from one checkpoint to the next, None for one after each epoch."""
    name: str
    method: str
    workers: int = 0
    every: int | None = None
    amp: str | None = None
    drop_path: float = 0.
    val_interval: int = 1

    def config(self, data: Path) -> str:
        return CONFIG.format(
            base=ROOT / f'configs/small/{self.method}.py', data=data, workers=self.workers, persistent=self.workers > 0,
            drop_path=self.drop_path, val_interval=self.val_interval, head=PROJECTOR if self.method.startswith('bam') else HEAD,
            checkpoint=f'by_epoch=False, interval={self.every}, ' if self.every else '',
            hooks=', contrastive_crop=dict(size=32, warmup=1, interval=1)' if 'crop' in self.method else '')


VARIANTS = [
    Variant('dino', 'dino'),
    Variant('dino_workers', 'dino', workers=2, drop_path=0.2),
    Variant('dino_iterations', 'dino', every=2),
    Variant('pqcl', 'pqcl', drop_path=0.1),
    Variant('pqcl_workers_iterations', 'pqcl', workers=2, every=4),
    Variant('bam', 'bam'),
    Variant('bam_crops', 'bam_contrastive-crop', workers=2),
    Variant('bam_crops_iterations', 'bam_contrastive-crop', every=3),
    Variant('dino_bf16', 'dino', amp='bf16', drop_path=0.2),
    Variant('pqcl_bf16_iterations', 'pqcl', amp='bf16', every=2, workers=2),
]


def die() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def before(owner, name: str) -> Callable[[int], None]:
    return lambda n: _at_call(owner, name, n, lambda original, *args, **kwargs: die())


def after(owner, name: str) -> Callable[[int], None]:
    def end(original, *args, **kwargs):
        original(*args, **kwargs)
        die()
    return lambda n: _at_call(owner, name, n, end)


def _at_call(owner, name: str, n: int, end: Callable) -> None:
    """Let the ``n``-th call of something end the process."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(name)
        return end(original, *args, **kwargs) if len(calls) == n else original(*args, **kwargs)
    setattr(owner, name, wrapped)


def half_checkpoint(n: int) -> None:
    def end(original, content, path, *args, **kwargs):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        Path(path).write_bytes(buffer.getvalue()[:len(buffer.getvalue()) // 2])
        die()
    _at_call(engine_runner, 'save_checkpoint', n, end)


def half_record(n: int) -> None:
    def end(original, path, record):
        line = json.dumps(record).encode()
        with open(path, 'ab') as file:
            file.write(line[:len(line) // 2])
        die()
    _at_call(records, 'append_line', n, end)


# By name, what ends a process at the n-th call, and the calls at which it is tried.
PLACES: dict[str, tuple[Callable[[int], None], tuple[int, ...]]] = {
    'before_step': (before(OptimWrapper, 'step'), (1, 5)),
    'after_step': (after(OptimWrapper, 'step'), (6, 12)),
    'before_save': (before(Runner, 'save_checkpoint'), (2, )),
    'after_export': (after(ExportBackboneHook, 'before_save_checkpoint'), (3, )),
    'half_checkpoint': (half_checkpoint, (1, 2, 3, 4)),
    'before_rename': (before(files.os, 'replace'), (1, 2, 3, 4, 5, 6)),
    'after_rename': (after(files.os, 'replace'), (2, 3, 4, 5, 6)),
    'before_deletion': (before(CheckpointHook, '_remove_outdated'), (3, 4, 5)),
    'before_validation': (before(loops.ProtocolLoop, 'run'), (1, 2, 5)),
    'in_validation': (after(loops, 'extract'), (1, 2, 3, 9)),
    'after_metrics': (after(KNNMetric, '__call__'), (2, 5)),
    'half_record': (half_record, (1, 3, 5)),
    'after_record': (after(RecordHook, '_record'), (1, 2, 5)),
    'before_best': (before(CheckpointHook, '_save_best_checkpoint'), (2, 5)),
    'after_best': (after(CheckpointHook, '_save_best_checkpoint'), (2, 5)),
    'in_collapse_check': (before(CollapseHook, 'after_train_iter'), (7, )),
    'after_epoch': (after(CheckpointHook, 'after_train_epoch'), (1, 4)),
}


def at_event(n: int) -> None:
    _at_call(Runner, 'call_hook', n, lambda original, *args, **kwargs: die())


@dataclass(frozen=True)
class Trial:
    """A run to kill: what is done to its process, and to those that resume it."""
    name: str
    variant: Variant
    kills: tuple[Callable[[], None], ...]


def trials(variants: list[Variant], events: dict[str, int], generator: random.Random) -> list[Trial]:
    """All places for the first variant; for the others some at random; and events, once and several times, for all."""
    chosen = []
    for i, variant in enumerate(variants):
        places = [(name, n) for name, (_, calls) in PLACES.items() for n in calls]
        for name, n in places if i == 0 else generator.sample(places, 2):
            chosen.append(Trial(f'{variant.name}-{name}-{n}', variant, (lambda install=PLACES[name][0], n=n: install(n), )))
        for j in range(2):
            n = generator.randrange(1, events[variant.name] + 1)
            chosen.append(Trial(f'{variant.name}-event-{n}-{j}', variant, (lambda n=n: at_event(n), )))
        for j in range(1):
            several = [generator.randrange(events[variant.name] // 6, events[variant.name] // 2) for _ in range(3)]
            chosen.append(Trial(f'{variant.name}-events-{"-".join(map(str, several))}-{j}', variant,
                                tuple(lambda n=n: at_event(n) for n in several)))
    return chosen


def make_images(folder: Path) -> Path:
    for part, each in (('train', 12), ('val', 6)):
        for label in range(2):
            place = folder / part / str(label)
            place.mkdir(parents=True)
            for i in range(each):
                generator = np.random.default_rng([label, i, each])
                coarse = Image.fromarray(generator.integers(0, 256 - 64 * label, (5, 6, 3), dtype=np.uint8))
                coarse.resize((40, 36), Image.Resampling.BICUBIC).save(place / f'{i:02d}.png')
    return folder


def load_train() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location('train', ROOT / 'tools/train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def make_light() -> None:
    """Leave out what takes seconds in each of hundreds of processes and has nothing to do with kills."""
    for module in ('matplotlib.pyplot', 'matplotlib.backends.backend_agg'):
        import_module(module)
    mmengine.runner.runner.collect_env = dict
    yapf.yapflib.yapf_api.FormatCode = lambda text, *args, **kwargs: (text, True)
    records.commit = lambda: None
    gc.collect()
    gc.freeze()


def arguments(variant: Variant, out: Path, folder: Path, *more: str) -> list[str]:
    return [str(out / f'{variant.name}.py'), '--work-dir', str(folder), *(['--amp', variant.amp] if variant.amp else []), *more]


def whole_run(main: Callable, variant: Variant, out: Path) -> Outcome:
    """The run that is never killed; leaves the number of its events."""
    folder = out / 'whole' / variant.name

    def run() -> int:
        original, calls = Runner.call_hook, []

        def count(self, *args, **kwargs):
            calls.append(1)
            return original(self, *args, **kwargs)
        Runner.call_hook = count
        code = main(arguments(variant, out, folder))
        (folder / EVENTS).write_text(str(len(calls)))
        return code
    return run_case(Case(variant.name, run), out / 'whole' / f'{variant.name}.log')


def try_kill(main: Callable, trial: Trial, out: Path) -> Outcome:
    """Run, kill, resume, kill, ... and resume to the end."""
    start, folder, logs = time.monotonic(), out / 'killed' / trial.name, out / 'logs'
    logs.mkdir(exist_ok=True)
    killed = 0
    for i, kill in enumerate([*trial.kills, None]):
        def run(i=i, kill=kill) -> int:
            if kill:
                kill()
            return main(arguments(trial.variant, out, folder, *(['--resume'] if i else [])))
        outcome = run_case(Case(trial.name, run, FINE + KILLED if kill else FINE), logs / f'{trial.name}.{i}.log')
        if outcome.verdict in BAD:
            return outcome
        killed += outcome.verdict == 'killed'
    lost = compare(out / 'whole' / trial.variant.name, folder) if killed else 'it ended before it was killed'
    verdict = 'LOST' if lost else 'fine'
    return Outcome(trial.name, verdict, lost or f'killed {killed} x, bit-identical', time.monotonic() - start)


def compare(whole: Path, killed: Path) -> str | None:
    """What a killed and resumed run has less, more or other than the whole one."""
    names, others = ({path.name for path in folder.iterdir() if path.is_file()} - {EVENTS} for folder in (whole, killed))
    if names != others:
        return f'files differ: {", ".join(sorted(names ^ others))}'
    if [_record(line) for line in records.read_records(whole / 'results.jsonl')] != [
            _record(line) for line in _without_half_lines(killed / 'results.jsonl')]:
        return 'records differ'
    for path in sorted(whole.glob('*.pth')):
        one, two = (_content(folder / path.name) for folder in (whole, killed))
        differ = [name for name in one.keys() | two.keys() if not _equal(one.get(name), two.get(name))]
        if differ:
            return f'{path.name} differs in {", ".join(sorted(differ)[:5])}'
    if not _equal(*(files.read_safetensors(folder / 'backbone.safetensors') for folder in (whole, killed))):
        return 'backbone.safetensors differs'
    return None


def _record(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != 'time'}


def _without_half_lines(path: Path) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return records.read_records(path)


def _content(path: Path) -> dict:
    """A flat checkpoint, without what belongs to a process: times, paths, and when values were measured."""
    checkpoint = files.read_checkpoint(path)
    hub = checkpoint.pop('message_hub')
    meta = checkpoint.pop('meta')
    scalars = {f'history.{name}': np.stack(history.data) for name, history in hub['log_scalars'].items() if 'time' not in name}
    infos = {f'info.{name}': Path(value).name if name.endswith('_ckpt') and value else value
             for name, value in hub['runtime_info'].items() if name not in ('eta', 'experiment_name', 'loop_stage', 'outdated_ckpts')}
    cfg = {key: value for key, value in json.loads(meta['cfg']).items() if key not in ('resume', 'work_dir', 'load_from')}
    told = dict(epoch=meta['epoch'], iter=meta['iter'], seed=meta['seed'], cfg=cfg)
    return {**checkpoint, **scalars, **infos, **told}


def _equal(one, two) -> bool:
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one.nan_to_num(), two.nan_to_num())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, two, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_equal(one[key], two[key]) for key in one if key != '_step_count')
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(_equal, one, two))
    return one == two


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', type=Path, help='new folder for runs and logs')
    parser.add_argument('--variants', nargs='+', choices=[variant.name for variant in VARIANTS], metavar='NAME',
                        help='kinds of runs; all by default: ' + ', '.join(variant.name for variant in VARIANTS))
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args(argv)
    out = args.out.resolve()
    if out.exists():
        shutil.rmtree(out) if (out / 'whole').is_dir() else parser.error(f'{out} is something else')
    variants = [variant for variant in VARIANTS if not args.variants or variant.name in args.variants]
    data = make_images(out / 'data')
    train = load_train()
    torch.set_num_threads(1)
    make_light()
    (out / 'whole').mkdir()
    outcomes, events = [], {}
    for variant in variants:
        (out / f'{variant.name}.py').write_text(variant.config(data))
        outcome = whole_run(train, variant, out)
        if outcome.verdict != 'fine':
            print(f'{variant.name}, which was not killed: {outcome.verdict} {outcome.said}', file=sys.stderr)
            return 1
        events[variant.name] = int((out / 'whole' / variant.name / EVENTS).read_text())
    for trial in trials(variants, events, random.Random(args.seed)):
        outcome = try_kill(train, trial, out)
        outcomes.append(outcome)
        print(f'{outcome.verdict:10} {outcome.seconds:6.1f} s  {outcome.name}: {outcome.said}', flush=True)
    return report(f'Kills (mmdssl {mmdssl.__version__})', outcomes)


if __name__ == '__main__':
    sys.exit(main())
