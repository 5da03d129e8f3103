"""What do data sets of ten million images cost: seconds until the first batch, and memory of each process that loads?

    python tools/analysis/data_scale.py

Data sets are made up, of which only names and offsets are as many as ``--images``: tars with an index, whose entries all lead to one
JPEG of each tar; a text file of distinct paths that lead to a few files; and, if asked for by ``--kinds folder``, folders of hard links to
a file in each, which take minutes to be made and to go. Each is loaded as a run does, by workers that are forked
and by workers that are spawned, which first read all they know of the images, as they have at the end of an epoch. Of their memory there
are three figures (``/proc/PID/smaps_rollup``): private; its share, where what several processes map is divided among them (Pss, for which
the bar is); and all that is mapped (Rss). Those of a worker with 1,000 images stand beside them. Seconds of the processor are beside those
of the clock, which on a busy machine are more: those of the process that trains, and of a worker until the first batch. A JSON record is
appended to --out.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from mmdssl.datasets import tar_index
from mmdssl.datasets.image_folder import ImageFolder
from mmdssl.datasets.image_list import ImageList
from mmdssl.datasets.images import walk_images
from mmdssl.datasets.packed import PackedPaths, SharedArray
from mmdssl.datasets.tar_images import TarImages
from mmdssl.results.records import append_line, commit, versions

SECONDS, MEGABYTES = 30, 400  # the bars
FEW = 1000
PER_TAR, PER_FOLDER = 10_000, 50_000  # below the 65,000 links to a file that ext4 allows
VIEWS = {'global': dict(size=32, scale=(0.25, 1.))}
FIGURES = dict(private=('Private_Clean', 'Private_Dirty'), share=('Pss', ), mapped=('Rss', ))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=10_000_000)
    parser.add_argument('--kinds', nargs='+', choices=['tars', 'list', 'folder'], default=['tars', 'list'])
    parser.add_argument('--starts', nargs='+', choices=['fork', 'spawn'], default=['fork', 'spawn'])
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--folder', help='where the data sets are made, which takes some 400 MB of disk')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/data_scale.jsonl'))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context('fork')  # of each kind a process, whose memory nothing else has filled
    met = True
    for kind in args.kinds:
        answers = context.Queue()
        process = context.Process(target=measure, args=(kind, args, answers))
        process.start()
        record = answers.get()
        process.join()
        now = time.strftime('%Y-%m-%dT%H:%M:%S')
        append_line(args.out, dict(task='data scale', time=now, **record, commit=commit(), versions=versions()))
        met &= show(record)
    return not met


def show(record: dict) -> bool:
    """Print a record; returns whether it meets the bars."""
    print(f'{record["kind"]}, {record["images"]:,} images: data set built in {record["build_s"]:.1f} s ({record["build_cpu_s"]:.1f} of the '
          f'processor), highest memory of the process that builds it {record["peak_mb"]:.0f} MB')
    met = True
    for start, found in record['starts'].items():
        seconds, processor = (record[f'build_{kind}'] + found[f'first_batch_{kind}'] for kind in ('s', 'cpu_s'))
        share = max(worker['share'] for worker in found['workers'])
        met &= seconds < SECONDS and share < MEGABYTES
        of = {name: ', '.join(f'{worker[name]:.0f}' for worker in found['workers']) for name in FIGURES}
        few = ', '.join(f'{name} {found["few"][name]:.0f}' for name in FIGURES)
        print(f'  {start}: {seconds:.1f} s until the first batch ({processor:.1f} of the processor and '
              f'{found["worker_cpu_s"]:.1f} in a worker; bar {SECONDS}); MB per worker: private '
              f'{of["private"]}; share {of["share"]} (bar {MEGABYTES}); mapped {of["mapped"]}; of one with {FEW:,} images: {few}')
    if 'walk_us' in record:
        print(f'  a folder is walked in {record["walk_us"]:.2f} us an image')
    return met


def measure(kind: str, args: argparse.Namespace, answers: multiprocessing.Queue) -> None:
    make = dict(tars=make_tars, list=make_list, folder=make_folder)[kind]
    with TemporaryDirectory(dir=args.folder, prefix='mmdssl-scale-') as folder:
        few = Touching(make(Path(folder, 'few'), FEW)())
        few = {start: load(few, start, 1)['workers'][0] for start in args.starts}
        build = make(Path(folder, 'many'), args.images)
        clock = Clock()
        dataset = build()
        record = dict(kind=kind, images=args.images, **clock.read('build'),
                      peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        assert len(dataset) == args.images
        record['starts'] = {start: dict(load(Touching(dataset), start, args.workers), few=few[start]) for start in args.starts}
        if kind == 'list':
            clock = Clock()
            paths = PackedPaths(walk_images(f'{folder}/many/files'))
            record['walk_us'] = 1e6 * clock.read('walk')['walk_cpu_s'] / len(paths)
    answers.put(record)


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self._start = self._now()

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def read(self, name: str) -> dict[str, float]:
        return dict(zip((f'{name}_s', f'{name}_cpu_s'), (self._now() - self._start).tolist()))


class Touching:
    """A data set of which each process reads all that is known of the images before it loads the first."""

    def __init__(self, dataset: Dataset):
        self.dataset, self._touched = dataset, None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, ...]):
        if self._touched != os.getpid():
            self._touched = os.getpid()
            for array in shared_arrays(self.dataset.data_list):
                for first in range(0, len(array), 1 << 16):  # a copy of all would count as memory of the process
                    array.values[first:first + (1 << 16)].tobytes()
        return self.dataset[key]


def shared_arrays(node) -> list[SharedArray]:
    if isinstance(node, SharedArray):
        return [node]
    return [array for part in vars(node).values() for array in shared_arrays(part)] if hasattr(node, '__dict__') else []


def load(dataset: Touching, start: str, workers: int) -> dict:
    """Seconds until the first of some batches, the processor's of this process, and megabytes of the workers after the last."""
    from mmdssl.engine import Runner  # here, for workers that are spawned import this file
    clock = Clock()
    loader = Runner.build_dataloader(dict(
        dataset=dataset, batch_size=32, num_workers=workers, persistent_workers=True, drop_last=True, multiprocessing_context=start,
        sampler=dict(type='mmdssl.EpochSampler'), collate_fn=dict(type='mmdssl.collate_views')), seed=0)
    batches = iter(loader)
    next(batches)
    seconds = clock.read('first_batch')
    seconds['worker_cpu_s'] = max(processor_of(worker.pid) for worker in batches._workers)
    for _ in range(8):
        next(batches)
    memory = [memory_of(worker.pid) for worker in batches._workers]
    batches._shutdown_workers()
    return dict(seconds, workers=memory)


def memory_of(pid: int) -> dict[str, float]:
    lines = (line.split() for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:])
    kilobytes = {words[0].rstrip(':'): int(words[1]) for words in lines}
    return {name: sum(kilobytes[field] for field in fields) / 1024 for name, fields in FIGURES.items()}


def processor_of(pid: int) -> float:
    """Seconds of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def photograph(path: Path) -> int:
    """Write a small JPEG; returns its bytes."""
    Image.effect_noise((64, 48), 64).convert('RGB').save(path, 'JPEG')
    return path.stat().st_size


def make_tars(folder: Path, images: int):
    """Tars of which a file system stores only the JPEG at the beginning, and their index."""
    folder.mkdir()
    size = photograph(folder / 'one.jpg')
    shards, rows = [], []
    for number, first in enumerate(range(0, images, PER_TAR)):
        path, count = folder / f'{number:06d}.tar', min(PER_TAR, images - first)
        path.write_bytes(bytes(512) + (folder / 'one.jpg').read_bytes())
        os.truncate(path, count * 10_240)
        shards.append(tar_index.Shard(path.name, path.stat().st_size, str(path.stat().st_mtime_ns), first, count, None, None))
        rows.append(np.full(count, np.array((number, 512, size), tar_index.ROW)))
    tar_index._write(folder / tar_index.NAME, np.concatenate(rows), [], shards, [])
    return lambda: TarImages(str(folder), views=VIEWS)


def make_list(folder: Path, images: int):
    """A list of distinct paths: links to a folder, in which are links to a file."""
    (folder / 'files').mkdir(parents=True)
    photograph(folder / 'one.jpg')
    names = [f'{number:010d}.jpg' for number in range(min(images, PER_FOLDER))]
    for name in names:
        os.link(folder / 'one.jpg', folder / 'files' / name)
    with open(folder / 'list.txt', 'w') as file:
        for first in range(0, images, PER_FOLDER):
            part = f'part-{first // PER_FOLDER:04d}'
            os.symlink('files', folder / part)
            file.writelines(f'{part}/{name}\n' for name in names[:images - first])
    return lambda: ImageList('list.txt', str(folder), views=VIEWS)


def make_folder(folder: Path, images: int):
    """Folders of links to a file in each."""
    for first in range(0, images, PER_FOLDER):
        part = folder / f'{first // PER_FOLDER:04d}'
        part.mkdir(parents=True)
        photograph(part / '0.jpg')
        for number in range(1, min(PER_FOLDER, images - first)):
            os.link(part / '0.jpg', part / f'{number}.jpg')
    return lambda: ImageFolder(str(folder), views=VIEWS)


if __name__ == '__main__':
    sys.exit(main())
