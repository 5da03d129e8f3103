"""What a machine, a terminal or a cluster does to a run: python tools/analysis/resources.py OUT

Signals at chosen moments, workers that die, disks and shared memory that are full, folders that go, limits of the system, a
second run in one folder. Each case trains a small DINO on generated images with two workers that load data. It must end in
a sentence (or well), not hang, and where the run could go on, ``--resume`` must end with the very weights of the run that
nothing happened to. OUT is a folder for all of it, new or of an earlier campaign.

Cases that need a file system of their own (full, read-only, a small /dev/shm) are for root on Linux, in a mount namespace that
ends with the campaign; they are named and left out elsewhere. A worn network file system is simulated, all else is real.
"""
from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from campaign import FINE, KILLED, REFUSED, Case, report, run_case, run_cases
from PIL import Image
from torch.utils import tensorboard  # noqa: F401  before a case becomes another user, who may not read where it is installed

import mmdssl
import mmdssl.datasets.workers as workers
from mmdssl.checkpoint import files
from mmdssl.datasets import ImageFolder
from mmdssl.engine import loops
from mmdssl.models.algorithms import DINO

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNS = 0x00020000
CONFIG = """
default_scope = 'mmdssl'
model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=16,
                  drop_path_rate=0.1),
    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8))
train_dataloader = dict(
    batch_size=4, num_workers=2, persistent_workers=True, drop_last=True, sampler=dict(type='EpochSampler'),
    collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(type='ImageFolder', data_root='{data}/train',
                 views=dict(global_=dict(type='CropViews', size=16, scale=(0.25, 1.0), num=2))))
val_dataloader = dict(batch_size=5, num_workers=1, dataset=dict(type='LabelledFolder', data_root='{data}/val', resize=16, size=16))
val_cfg = dict(type='ProtocolLoop', bank=dict(
    batch_size=5, num_workers=1, dataset=dict(type='LabelledFolder', data_root='{data}/train', resize=16, size=16)))
val_evaluator = dict(type='KNNMetric', k=(3, ))
train_cfg = dict(type='TrainLoop', max_epochs=3)
optim_wrapper = dict(type='OptimWrapper', constructor='OptimWrapperConstructor', clip_per_tensor=3.0,
                     optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='knn3_top1', rule='greater'))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='SkippedImagesHook'), dict(type='ExportBackboneHook'), dict(type='RecordHook')]
log_processor = dict(type='LogProcessor')
visualizer = dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
"""


class Moments:
    """Makes a run wait at a chosen moment until the campaign has done something to it."""

    def __init__(self, folder: Path):
        self.reached, self.done = folder / 'reached', folder / 'done'
        for marker in (self.reached, self.done):
            marker.unlink(missing_ok=True)

    def pause(self) -> None:
        self.reached.touch()
        deadline = time.monotonic() + 30
        while not self.done.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while not self.reached.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def before(self, owner: object, name: str, call: int = 1, then: Callable[[], None] | None = None) -> None:
        """Wait, or do something else, before a function is called for the ``call``-th time."""
        original, count = getattr(owner, name), [0]

        def wrapper(*args, **kwargs):
            count[0] += 1
            if count[0] == call:
                (then or self.pause)()
            return original(*args, **kwargs)
        setattr(owner, name, wrapper)


MOMENTS: dict[str, Callable[[Moments], None]] = {
    'the-first-step': lambda at: at.before(DINO, 'loss', 1),
    'a-step': lambda at: at.before(DINO, 'loss', 9),
    'the-last-step-of-an-epoch': lambda at: at.before(DINO, 'loss', 12),
    'the-last-step': lambda at: at.before(DINO, 'loss', 18),
    'a-save': lambda at: at.before(torch, 'save', 3),
    'a-save-of-the-backbone': lambda at: at.before(files, '_to_disk', 7),
    'the-end-of-a-save': lambda at: at.before(os, 'replace', 6),
    'validation': lambda at: at.before(loops, 'extract', 4),
    'the-last-validation': lambda at: at.before(loops, 'extract', 6),
}


class Campaign:

    def __init__(self, out: Path, mounts: bool):
        self.out, self.mounts, self.left_out = out, mounts, []
        self.data = out / 'data'
        spec = importlib.util.spec_from_file_location('train_tool', ROOT / 'tools/train.py')
        self.tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tool)

    def prepare(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.images(self.data)
        outcome = run_case(Case('reference', partial(self.train, self.out / 'reference')), self.out / 'reference.log')
        if outcome.verdict != 'fine':
            raise SystemExit(f'error: the run that nothing happens to failed: {outcome.said}, see {self.out / "reference.log"}')
        self.reference = weights(self.out / 'reference')

    @staticmethod
    def images(folder: Path) -> None:
        for part, number in (('train', 12), ('val', 4)):
            for name in ('a', 'b'):
                (folder / part / name).mkdir(parents=True)
                for i in range(number):
                    pixels = np.random.default_rng([i, len(part), ord(name)]).integers(0, 255, (24, 24, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / part / name / f'{i}.png')

    def config(self, work_dir: Path, data: Path | None) -> Path:
        config = self.out / f'{work_dir.name}.py'
        if not config.exists():
            config.write_text(CONFIG.format(data=data or self.data))
        return config

    def train(self, work_dir: Path, *arguments: str, data: Path | None = None) -> int:
        config = self.config(work_dir, data)
        sys.argv = [str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(work_dir), *arguments]
        return self.tool.main(sys.argv[1:])

    def resumed(self, work_dir: Path) -> str | None:
        """What a resumed run loses, if anything, against the one that nothing happened to."""
        outcome = run_case(Case('resume', partial(self.train, work_dir, '--resume')), self.out / 'logs' / f'{work_dir.name}-resumed.log')
        if outcome.verdict != 'fine':
            return f'--resume: {outcome.verdict} {outcome.said}'
        left = [str(file) for file in work_dir.rglob('*.partial')] + [str(file) for file in work_dir.glob('interrupted.pth')]
        if left and not work_dir.name.endswith('the-last-validation'):
            return f'half a file is left: {left}'
        return None if same(weights(work_dir), self.reference) else '--resume ends with other weights'

    def case(self, name: str, expected: tuple[str, ...], prepare: Callable[[Moments], None] = lambda at: None,
             meanwhile: Callable[[int], None] | None = None, arguments: tuple[str, ...] = (), resume: bool = True,
             work_dir: Path | None = None, data: Path | None = None, repair: Callable[[], None] = lambda: None) -> Case:
        """A training that something is done to, while it waits (``meanwhile``) or before (``prepare``, in its process)."""
        folder = work_dir or self.out / name
        moments = Moments(self.out)
        self.config(folder, data)

        def run() -> int:
            moments.__init__(self.out)
            prepare(moments)
            return self.train(folder, *arguments, data=data)

        def act(pid: int) -> None:
            moments.wait()
            meanwhile(pid)
            moments.done.touch()

        def check() -> str | None:
            repair()
            return self.resumed(folder) if resume else None
        for marker in (moments.reached, moments.done):
            marker.unlink(missing_ok=True)
        return Case(name, run, expected, act if meanwhile else None, check, limit=90)

    def cases(self):
        yield from self.signals()
        yield from self.workers()
        yield from self.limits()
        yield from self.folders()
        yield from self.two_runs()
        if self.mounts:
            yield from self.disks()
        else:
            self.left_out.append('disks and shared memory of other sizes: mounting needs root on Linux')
        yield from self.environments()
        yield from self.tools()

    def signals(self):
        for moment, at in MOMENTS.items():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                ended = FINE if number != signal.SIGINT and moment in ('the-last-validation', ) else REFUSED
                yield self.case(f'{number.name}-in-{moment}', ended, at, lambda pid, number=number: os.kill(pid, number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            yield self.case(f'{number.name}-to-all-processes', REFUSED, MOMENTS['a-step'],
                            lambda pid, number=number: os.killpg(pid, number))
        yield self.case('SIGINT-twice', REFUSED + KILLED, MOMENTS['a-save'], lambda pid: twice(pid, signal.SIGINT))
        yield self.case('SIGTERM-twice-at-once', REFUSED, MOMENTS['a-step'], lambda pid: twice(pid, signal.SIGTERM))

        def impatient(at: Moments) -> None:
            from mmdssl.engine.hooks import stop_hook
            stop_hook.SAME = 0.
            MOMENTS['a-step'](at)
        yield self.case('SIGTERM-twice', KILLED, impatient, lambda pid: twice(pid, signal.SIGTERM))
        yield self.case('SIGHUP-in-a-step', KILLED, MOMENTS['a-step'], lambda pid: os.kill(pid, signal.SIGHUP))
        yield self.case('SIGTERM-while-data-is-awaited', REFUSED, lambda at: at.before(
            torch.utils.data.dataloader._MultiProcessingDataLoaderIter, '_next_data', 9), lambda pid: os.kill(pid, signal.SIGTERM))

    def workers(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS):
            yield self.case(f'a-worker-gets-{number.name}', REFUSED, MOMENTS['a-step'],
                            lambda pid, number=number: os.kill(children(pid)[0], number))
            yield self.case(f'a-worker-gets-{number.name}-in-a-save', REFUSED, MOMENTS['a-save'],
                            lambda pid, number=number: os.kill(children(pid)[0], number))
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            yield self.case(f'a-worker-gets-{number.name}', FINE, MOMENTS['a-step'],
                            lambda pid, number=number: os.kill(children(pid)[0], number))
        yield self.case('all-workers-get-SIGKILL-in-validation', REFUSED, MOMENTS['validation'],
                        lambda pid: [os.kill(child, signal.SIGKILL) for child in children(pid)])

        def worker_with(limit: int, room: int) -> Callable[[Moments], None]:
            def prepare(at: Moments) -> None:
                original = workers._start_worker

                def start(*args):
                    set_limit(limit, room)
                    original(*args)
                workers._start_worker = start
            return prepare
        yield self.case('a-worker-without-memory', REFUSED, worker_with(resource.RLIMIT_AS, 2**26), resume=False,
                        arguments=('--cfg-options', 'train_dataloader.dataset.views.global_.size=2048'))
        yield self.case('a-worker-without-files', REFUSED, worker_with(resource.RLIMIT_NOFILE, 12))

        def raises(error: BaseException) -> Callable[[Moments], None]:
            def act() -> None:
                raise error
            return lambda at: at.before(ImageFolder, '__getitem__', 12, act)
        yield self.case('a-worker-raises-MemoryError', REFUSED, raises(MemoryError()))
        yield self.case('a-stale-file-handle', REFUSED, lambda at: at.before(os, 'replace', 6, partial(fail, os.strerror(116), 116)))
        yield self.case('a-disk-that-fails', REFUSED, lambda at: at.before(torch, 'save', 3, partial(fail, os.strerror(5), 5)))

    def limits(self):
        yield self.case('file-size-limit', REFUSED, lambda at: at.before(torch, 'save', 3, partial(set_limit, resource.RLIMIT_FSIZE, 4096)))
        yield self.case('file-size-limit-from-the-start', REFUSED, lambda at: set_limit(resource.RLIMIT_FSIZE, 4096))
        yield self.case('no-more-files', REFUSED, lambda at: at.before(DINO, 'loss', 9, partial(set_limit, resource.RLIMIT_NOFILE, 10)))
        yield self.case('few-files-from-the-start', REFUSED, lambda at: set_limit(resource.RLIMIT_NOFILE, 20))
        yield self.case('no-memory', REFUSED, lambda at: at.before(DINO, 'loss', 9, grab_memory))

    def folders(self):
        out = self.out
        yield self.case('work-dir-removed-in-a-step', REFUSED, MOMENTS['a-step'],
                        lambda pid: shutil.rmtree(out / 'work-dir-removed-in-a-step'))
        yield self.case('work-dir-removed-in-a-save', REFUSED, MOMENTS['the-end-of-a-save'],
                        lambda pid: shutil.rmtree(out / 'work-dir-removed-in-a-save'))
        yield self.case('work-dir-removed-in-validation', REFUSED, MOMENTS['validation'],
                        lambda pid: shutil.rmtree(out / 'work-dir-removed-in-validation'))
        yield self.case('work-dir-is-a-file', REFUSED, lambda at: (out / 'work-dir-is-a-file').touch(),
                        repair=(out / 'work-dir-is-a-file').unlink)
        yield self.case('work-dir-below-a-file', REFUSED, work_dir=out / 'data/train/a/0.png/run', resume=False)
        mine = out / 'data-removed'
        self.images(mine)
        yield self.case('data-removed-in-a-step', REFUSED, MOMENTS['a-step'], lambda pid: mine.rename(out / 'elsewhere'),
                        data=mine, repair=lambda: (out / 'elsewhere').rename(mine))
        if os.geteuid() == 0:
            yield self.case('work-dir-without-permission', REFUSED, lambda at: os.seteuid(65534), resume=False)
            secret = out / 'data-secret'
            self.images(secret)
            (out / 'open').mkdir(mode=0o777)
            (out / 'open').chmod(0o777)
            os.chmod(secret / 'train/a', 0o700)
            yield self.case('data-without-permission', REFUSED, lambda at: os.seteuid(65534), data=secret, work_dir=out / 'open/run',
                            resume=False)
        else:
            self.left_out.append('folders without permission: another user than root is needed for it')

    def two_runs(self):
        folder = self.out / 'second-run'

        def second(at: Moments) -> None:
            first = os.fork()
            if not first:
                MOMENTS['a-step'](at)
                os._exit(self.train(folder))
            at.wait()
        yield self.case('second-run', REFUSED, second, work_dir=folder, resume=False)
        folder = self.out / 'second-run-after-a-kill'

        def after_a_kill(at: Moments) -> None:
            first = os.fork()
            if not first:
                MOMENTS['a-step'](at)
                os._exit(self.train(folder))
            at.wait()
            os.kill(first, signal.SIGKILL)  # its workers live on for seconds
            os.waitpid(first, 0)
        yield self.case('second-run-after-a-kill', FINE, after_a_kill, work_dir=folder)

    def disks(self):
        for name, moment in {
                'disk-full-in-a-save': lambda at, fill: at.before(torch, 'save', 3, fill),
                'disk-full-in-a-save-of-the-backbone': lambda at, fill: at.before(files, '_to_disk', 6, fill),
                'disk-full-in-a-step': lambda at, fill: at.before(DINO, 'loss', 9, fill),
                'disk-full-in-validation': lambda at, fill: at.before(loops, 'extract', 4, fill),
                'disk-full-from-the-start': lambda at, fill: fill()}.items():
            disk = self.mount(name, '8m')
            yield self.case(name, REFUSED, lambda at, moment=moment, disk=disk: moment(at, partial(fill_disk, disk)),
                            work_dir=disk / 'run', repair=(disk / 'filler').unlink)
        disk = self.mount('read-only', '8m')
        remount = partial(mount, '-o', 'remount,ro', str(disk))
        yield self.case('work-dir-read-only', REFUSED, lambda at: remount(), work_dir=disk / 'run', resume=False)
        disk = self.mount('read-only-in-a-step', '8m')
        # files that are open for writing keep a disk from becoming read-only, and a bind mount of it does not
        yield self.case('disk-becomes-read-only', REFUSED, lambda at, disk=disk: at.before(
            DINO, 'loss', 9, partial(read_only, disk)), work_dir=disk / 'run', resume=False)
        data = self.mount('read-only-data', '8m')
        self.images(data / 'images')
        yield self.case('data-read-only', FINE, lambda at: mount('-o', 'remount,ro', str(data)), data=data / 'images')
        for size in ('8k', '32k', '100k'):
            yield self.case(f'shared-memory-of-{size}', REFUSED, partial(self.small_shm, size))
        yield self.case('shared-memory-that-others-fill', REFUSED,
                        lambda at: (self.small_shm('8m', at), at.before(DINO, 'loss', 9, partial(fill_disk, Path('/dev/shm')))))
        yield self.case('shared-memory-that-is-enough', FINE, partial(self.small_shm, '8m'))
        yield self.case('shared-memory-too-small-for-validation', REFUSED, partial(self.small_shm, '300k'), resume=False,
                        arguments=('--cfg-options', 'val_dataloader.dataset.size=256', 'val_cfg.bank.dataset.size=256',
                                   'val_dataloader.dataset.resize=256', 'val_cfg.bank.dataset.resize=256'))
        yield self.case('shared-memory-small-without-workers', FINE, partial(self.small_shm, '8k'),
                        arguments=('--cfg-options', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
                                   'val_cfg.bank.num_workers=0'))

    def mount(self, name: str, size: str) -> Path:
        folder = self.out / f'disk-{name}'
        folder.mkdir()
        mount('-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder))
        return folder

    @staticmethod
    def small_shm(size: str, at: Moments) -> None:
        own_mounts()
        mount('-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', '/dev/shm')

    def environments(self):
        yield self.case('console-full', REFUSED + FINE, lambda at: redirect('/dev/full'))
        yield self.case('console-gone', REFUSED + FINE + KILLED, lambda at: broken_pipe())
        changed = {'c-locale': dict(LC_ALL='C', LANG='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0'),
                   'no-home': dict(HOME=None, USER=None, LOGNAME=None),
                   'home-gone': dict(HOME='/nonexistent', TMPDIR='/nonexistent')}
        for name, changes in changed.items():
            folder = self.out / f'environment-{name}'
            yield Case(folder.name, partial(self.elsewhere, folder, changes), FINE,
                       check=lambda folder=folder: None if same(weights(folder), self.reference) else 'other weights')

    def elsewhere(self, folder: Path, changes: dict[str, str | None]) -> int:
        """The run in a new interpreter with another environment."""
        config = self.out / f'{folder.name}.py'
        config.write_text(CONFIG.format(data=self.data))
        return subprocess.run([sys.executable, ROOT / 'tools/train.py', config, '--work-dir', folder],
                              env=environment(**changes)).returncode

    def tools(self):
        backbone = self.out / 'reference/backbone.safetensors'

        def tool(name: str, *arguments: str | Path, prepare: Callable[[], None] = lambda: None) -> Callable[[], int]:
            def run() -> int:
                prepare()
                spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module.main([str(argument) for argument in arguments])
            return run
        world = ('--train', '40', '--val', '10', '--size', '32', '--coco', '2', '2', '--ade20k', '2', '2', '--clips', '0', '0')
        yield Case('world-below-a-file', tool('make_sample_world', self.data / 'train/a/0.png/world', *world), REFUSED)
        yield Case('world-size-limit', tool('make_sample_world', self.out / 'world', *world,
                                            prepare=partial(set_limit, resource.RLIMIT_FSIZE, 512)), REFUSED)
        yield Case('world-renderer-killed', tool('make_sample_world', self.out / 'world2', '--train', '4000', *world[2:]), REFUSED,
                   lambda pid: os.kill(wait_for_child(pid), signal.SIGKILL))
        yield Case('world-SIGINT', tool('make_sample_world', self.out / 'world3', '--train', '4000', *world[2:]), REFUSED,
                   lambda pid: (wait_for_child(pid), time.sleep(0.5), os.killpg(pid, signal.SIGINT)))
        yield Case('convert-to-nowhere', tool('convert_checkpoint', backbone, self.data / 'train/a/0.png/x.safetensors', '--to', 'timm'),
                   REFUSED)
        for form in ('safetensors', 'pth'):
            yield Case(f'convert-size-limit-{form}', tool('convert_checkpoint', backbone, self.out / f'converted.{form}', '--to', 'timm',
                                                          prepare=partial(set_limit, resource.RLIMIT_FSIZE, 512)), REFUSED)
        if self.mounts:
            for form in ('safetensors', 'pth'):
                disk = self.mount(f'convert-{form}', '4k')
                yield Case(f'convert-disk-full-{form}', tool('convert_checkpoint', backbone, disk / f'converted.{form}', '--to', 'timm'),
                           REFUSED)
            disk = self.mount('world', '100k')
            yield Case('world-disk-full', tool('make_sample_world', disk / 'world', *world), REFUSED)


def weights(work_dir: Path) -> dict:
    checkpoint = torch.load(work_dir / 'epoch_3.pth', weights_only=False)
    return dict(model=checkpoint['state_dict'], moments=checkpoint['optimizer']['state'])


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def environment(**changes: str | None) -> dict[str, str]:
    return {key: value for key, value in {**os.environ, 'PYTHONPATH': str(ROOT), **changes}.items() if value is not None}


def twice(pid: int, number: int) -> None:
    os.kill(pid, number)
    time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def wait_for_child(pid: int) -> int:
    while not children(pid):
        time.sleep(0.02)
    time.sleep(0.3)
    return children(pid)[0]


def fail(meaning: str, number: int) -> None:
    raise OSError(number, meaning)


def set_limit(which: int, room: int) -> None:
    if which == resource.RLIMIT_AS:
        room += int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(which, (room, room))


def grab_memory() -> None:
    set_limit(resource.RLIMIT_AS, 2**24)
    torch.zeros(2**30)


def redirect(path: str) -> None:
    os.dup2(os.open(path, os.O_WRONLY), 1)


def broken_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def fill_disk(disk: Path) -> None:
    with open(disk / 'filler', 'wb', buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def read_only(disk: Path) -> None:
    own_mounts()
    mount('--bind', str(disk), str(disk))
    mount('-o', 'remount,bind,ro', str(disk))


def mount(*arguments: str) -> None:
    subprocess.run(['mount', *arguments], check=True, capture_output=True)


def own_mounts() -> bool:
    """From here on, what this process mounts is seen by it and its children alone; False where that is not allowed."""
    if not sys.platform.startswith('linux') or os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNS):
        return False
    return subprocess.run(['mount', '--make-rprivate', '/'], capture_output=True).returncode == 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='folder for the runs and their logs; what is in it goes')
    parser.add_argument('--only', default=[''], nargs='+', metavar='TEXT', help='the cases with one of these in their name')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    campaign = Campaign(args.out.resolve(), own_mounts())
    campaign.prepare()
    outcomes = run_cases((case for case in campaign.cases() if any(part in case.name for part in args.only)), args.out / 'logs')
    (args.out / 'outcomes.json').write_text(json.dumps([vars(outcome) for outcome in outcomes], indent=1))
    for reason in campaign.left_out:
        print(f'left out: {reason}')
    return report(f'Faults of the machine, mmdssl {mmdssl.__version__}', outcomes)


if __name__ == '__main__':
    sys.exit(main())
