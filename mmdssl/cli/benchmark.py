"""Measure a backbone on images, detection, segmentation and video, and compare: one table."""
from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.text import Text

from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError
from mmdssl.home import find_config, find_tool
from mmdssl.results.records import append_line, fingerprint_file, fingerprint_text, read_records
from mmdssl.results.tables import (
    DASH,
    Row,
    Section,
    Spread,
    baselines,
    compare,
    improvement,
    is_error,
    is_score,
    label,
    number,
    to_html,
    to_markdown,
    to_text,
)

DENSE = {
    'vit-small': ('detection/mask-rcnn_vit-small_1x_coco', 'detection/cascade-mask-rcnn_vit-small_1x_coco',
                  'segmentation/semfpn_vit-small_40k_ade20k', 'segmentation/upernet_vit-small_160k_ade20k'),
    'vit-base': ('detection/mask-rcnn_vit-base_1x_coco', 'detection/cascade-mask-rcnn_vit-base_1x_coco',
                 'segmentation/semfpn_vit-base_40k_ade20k', 'segmentation/upernet_vit-base_160k_ade20k'),
    'resnet50': ('detection/mask-rcnn_resnet50-fpn_1x_coco', 'detection/mask-rcnn_resnet50-c4_1x_coco',
                 'segmentation/semfpn_resnet50_40k_ade20k'),
}
VIDEO = {'vit-small': 'video/davis2017', 'vit-base': 'video/davis2017', 'resnet50': 'video/davis2017_resnet50'}
QUICK = ('detection/small_mask-rcnn_world', 'segmentation/small_semfpn_world', 'video/small_davis2017_world')
IMAGE = ('classification/knn', 'classification/linear_features', 'classification/logistic', 'classification/logistic_10percent',
         'classification/logistic_1percent', 'classification/clustering', 'classification/cost')
# Trained on augmented images, which takes minutes with a small transformer, and days with others: those have configs of their own.
TRAINED = ('classification/small_linear', 'classification/small_finetune')
# What frozen features tell about pixels: the configs, and the folder of the world that each reads.
FROZEN = {
    'dense/small_hummingbird_world': 'ade20k',
    'dense/small_ridge_world': 'ade20k',
    'dense/small_linear-leopart_world': 'ade20k',
    'dense/small_linear-dinov3_world': 'ade20k',
    'dense/small_overclustering_world': 'ade20k',
    'dense/small_positions_world': 'ade20k',
    'dense/small_lost_world': 'voc',
    'dense/small_tokencut_world': 'voc',
    'dense/small_attention_world': 'voc',
    'dense/small_attention-jaccard-neco_world': 'voc',
    'dense/small_saliency_world': 'saliency',
    'dense/small_spair_world': 'spair',
    'dense/small_depth_world': 'nyu',
    'video/small_davis2017_world': 'davis',
    'video/small_jhmdb_world': 'jhmdb',
    'video/small_vip_world': 'vip',
}
PARTS = 'train', 'val'
SMALL = 96  # pixels of the images of pretraining
WORLDS = {
    'quick': dict(train=10, val=10, size=16, coco=(192, 96), ade20k=(192, 96), clips=(0, 8)),
    'image': dict(train=2000, val=400, size=96, coco=(0, 0), ade20k=(0, 0), clips=(0, 0)),
    'frozen': dict(train=10, val=10, size=16, coco=(0, 0), ade20k=(96, 48), clips=(0, 8), voc=(96, 48), saliency=48, jhmdb=(0, 8),
                   vip=(0, 6), spair=(0, 0, 80), nyu=(96, 48)),
}
TAIL = 20  # lines of the log of a job that failed
WIDTH = 160  # of the widest table, also where the window is narrower
FOLDERS = dict(detection='coco', segmentation='ade20k', video='davis', classification='')
QUICK_METRICS = {'detection': ('box_AP50', 'mask_AP50'), 'segmentation': ('mIoU', ), 'video-segmentation': ('J&F', )}
CHANCE = 0.05  # of a difference as large between equal weights, below which it is called one


@dataclass(frozen=True)
class Job:
    """One evaluation. ``config`` is its config below ``configs``, without ``.py``."""
    config: str
    suite: str
    random: bool
    seed: int = 0

    @property
    def name(self) -> str:
        return self.measured + ('_random' if self.random else '') + (f'_seed{self.seed}' if self.seed else '')

    @property
    def measured(self) -> str:
        """What all seeds and both weights share."""
        return self.config.split('/')[1]

    @property
    def weights(self) -> str:
        return 'random' if self.random else 'pretrained'

    @property
    def task(self) -> str:
        return self.config.split('/')[0]

    @property
    def file(self) -> Path:
        return find_config(f'mmdssl::{self.config}.py')

    @property
    def data(self) -> str:
        """The folder below ``--data`` that it reads."""
        return FROZEN.get(self.config) or FOLDERS[self.task]

    @property
    def trains(self) -> bool:
        return 'train_dataloader' in json.loads(config_text(self.file))

    @property
    def on_features(self) -> bool:
        """Whether it reads features of the whole data set, which can be kept."""
        return not self.trains and json.loads(config_text(self.file))['test_cfg']['type'] == 'ProtocolLoop'


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 1 where a job failed; else see :func:`mmdssl.cli.guard.guarded`."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running job is ended too
    failed: list[Job] = []
    return guarded(lambda: failed.extend(run(args)), lambda: 'the same command goes on from here') or int(bool(failed))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='a .pth or .safetensors file, from mmdssl or anywhere')
    parser.add_argument('--suite', choices=['quick', 'frozen', 'image', 'dense', 'video', 'all'], default='quick',
                        help='quick: dense tasks on the sample world, in minutes, against random weights; frozen: dense protocols '
                        'that train no backbone, on the sample world, against random weights; image: k-NN, linear '
                        'classifiers also with few labels, clustering and cost, of small transformers fine-tuning too, against '
                        'random weights; dense: COCO and ADE20K, next to published results; video: DAVIS-2017; all: dense and video')
    parser.add_argument('--random', action='store_true',
                        help='measure random weights too, as the quick, the frozen and the image suite always do')
    parser.add_argument('--seeds', type=int, default=1, metavar='N',
                        help='run each job with N seeds, of which random weights, heads, orders and draws follow: tables give mean and '
                        'spread, and say which gains are more than chance')
    parser.add_argument('--network', choices=['teacher', 'student'],
                        help='where the checkpoint has both; by default the one that its authors evaluate')
    parser.add_argument('--gpus', type=int, default=1,
                        help='processes per job, through tools/dist_train.sh and tools/dist_test.sh')
    parser.add_argument('--data', type=Path, metavar='FOLDER',
                        help='folder with coco/, ade20k/, davis/ and so on, as far as they are needed; for the image suite one with '
                        'train/ and val/, a folder for each class in both')
    parser.add_argument('--amp', choices=['bf16', 'fp16'], help='mixed precision')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='CONFIG.KEY=VALUE',
                        help='change values of a config, such as small_semfpn_world.train_cfg.max_iters=400')
    parser.add_argument('--work-dir', type=Path,
                        help='work_dirs/benchmark/<folder>-<name> of the checkpoint by default')
    parser.add_argument('--table-only', action='store_true',
                        help='run nothing, make the table of the results that are there')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> list[Job]:
    """Run what is not done yet and make the tables; returns the jobs that failed."""
    from mmdssl.checkpoint.download import fetch, is_address
    from mmdssl.engine.run_lock import hold
    if is_address(args.checkpoint):
        args.checkpoint = fetch(args.checkpoint)
    args.checkpoint = Path(args.checkpoint)
    if not args.checkpoint.is_file():
        raise InputError(f"checkpoint '{args.checkpoint}' does not exist: give the path of a .pth or .safetensors file")
    for name in ('gpus', 'seeds'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name} must be at least 1, not {getattr(args, name)}')
    path = args.checkpoint.resolve()
    folder = args.work_dir = args.work_dir or Path('work_dirs/benchmark', f'{path.parent.name}-{path.stem}')
    jobs = plan(args.suite, args.random, (size if args.suite == 'image' else family)(args.checkpoint, args.network))
    jobs = [replace(job, seed=seed) for seed in range(args.seeds) for job in jobs]
    args.cfg_options = by_config(args.cfg_options, jobs)
    source = dict(source=fingerprint_file(path), weights_name=f'{path.parent.name}/{path.name}', **pretraining(path))
    keys = {job: dict(source=source['source'], recipe=recipe(job, args), **images_of(args)) for job in jobs}
    console = Console(markup=False, highlight=False, soft_wrap=True)
    failed = []
    if not args.table_only:
        folder.mkdir(parents=True, exist_ok=True)
        hold(folder)
        use_data(args, jobs)
        for i, job in enumerate(jobs, 1):
            title = f'{job.name} ({i} of {len(jobs)})'
            if find_record(folder, job, keys[job]):
                console.print(f'{title}: done before')
                continue
            start = time.monotonic()
            if record := run_job(job, args, keys[job], title, console):
                seconds = round(time.monotonic() - start, 1)
                console.print(f'{title}: done in {seconds:.0f} s')
                labels = dict(job=job.name, measured=job.measured, seed=job.seed, suite=job.suite, weights=job.weights,
                              changes=changes(job, args), seconds=seconds)
                append_line(folder / 'results.jsonl', {**record, **labels, **keys[job], **source})
            else:
                failed.append(job)
    report(args, jobs, keys, source['source'], console)
    return failed


def family(checkpoint: Path, network: str | None) -> str:
    """The configs that fit a backbone: a key of ``DENSE``."""
    from mmdssl.checkpoint import backbone_config
    from mmdssl.models.backbones.names import backbone_name
    found = backbone_config(checkpoint, network)
    name = backbone_name(found)
    if name == 'resnet50':
        return name
    if not name.startswith('vit-'):
        raise InputError(f'{checkpoint} holds a {name}: there are configs for vision transformers and ResNet-50')
    return 'vit-base' if name.startswith('vit-b/') else 'vit-small'


def size(checkpoint: Path, network: str | None) -> str:
    """``'small'`` for a transformer of small images, ``'large'`` for all else."""
    from mmdssl.checkpoint import backbone_config
    from mmdssl.models.backbones.names import plain_config
    found = plain_config(backbone_config(checkpoint, network))
    return 'small' if found['type'].endswith('VisionTransformer') and found.get('img_size', 224) <= SMALL else 'large'


def plan(suite: str, random: bool, kind: str) -> list[Job]:
    if suite == 'image':
        configs = [*IMAGE, *(TRAINED if kind == 'small' else ())]
        return [Job(config, suite, each) for config in configs for each in (True, False)]
    if suite in ('quick', 'frozen'):
        if kind == 'resnet50':
            raise InputError(f'the {suite} suite is for vision transformers: use --suite dense or video for a ResNet-50')
        return [Job(config, suite, each) for config in (QUICK if suite == 'quick' else FROZEN) for each in (True, False)]
    configs = [(config, 'dense') for config in DENSE[kind] if suite in ('dense', 'all')]
    configs += [(VIDEO[kind], 'video')] * (suite in ('video', 'all'))
    return [Job(config, name, each) for config, name in configs for each in ((True, False) if random else (False, ))]


def pretraining(checkpoint: Path) -> dict[str, str | int]:
    """What our own files say of the run they come from."""
    from mmdssl.checkpoint.files import read_safetensors
    metadata = read_safetensors(checkpoint)[1] if checkpoint.suffix == '.safetensors' else {}
    facts = dict(pretrain_method=metadata.get('method'), pretrain_epochs=metadata.get('epoch'))
    return {key: int(value) if value.isdecimal() else value for key, value in facts.items() if value}


def by_config(options: list[str], jobs: list[Job]) -> dict[str, list[str]]:
    """``--cfg-options`` for each config, without its name in front."""
    chosen: dict[str, list[str]] = {job.file.stem: [] for job in jobs}
    for option in options:
        config, _, rest = option.partition('.')
        if config not in chosen or '=' not in rest:
            raise InputError(f"--cfg-options '{option}' is for no config of this suite: write CONFIG.KEY=VALUE "
                             f'with one of {", ".join(chosen)} as CONFIG')
        chosen[config].append(rest)
    return chosen


def options(job: Job, args: argparse.Namespace) -> list[str]:
    """The ``--cfg-options`` that a job's tool is given."""
    chosen = list(args.cfg_options[job.file.stem])
    if args.network and not job.random:
        chosen.append(f'model.backbone.init_cfg.network={args.network}')
    if args.amp and (job.on_features or job.task == 'video'):  # others that do not train have no precision to choose
        chosen.append(f'{"test_cfg" if job.on_features else "model"}.amp={args.amp}')
    return chosen


def changes(job: Job, args: argparse.Namespace) -> list[str]:
    """What makes a job's recipe another one than its config's."""
    return [*options(job, args), *([f'--amp {args.amp}'] if args.amp and job.trains else [])]


def recipe(job: Job, args: argparse.Namespace) -> str:
    """A short name for all that decides about a job's result, but for the weights."""
    return fingerprint_text([config_text(job.file), *changes(job, args), str(args.data and args.data.resolve())])


def images_of(args: argparse.Namespace) -> dict[str, str]:
    """What tells the images of ``--data``, as they are now, in the image suite; nothing where they are not there."""
    if args.suite != 'image' or not args.data:
        return {}
    from mmdssl.datasets.images import find_images
    from mmdssl.engine.feature_cache import file_stamp
    folders = [args.data.resolve() / part for part in PARTS]
    if not all(folder.is_dir() for folder in folders):
        return {}
    return dict(images=fingerprint_text(f'{path} {file_stamp(path)}' for folder in folders for path in find_images(str(folder))))


@cache
def config_text(file: Path) -> str:
    from mmengine.config import Config
    return json.dumps(Config.fromfile(file).to_dict(), sort_keys=True, default=str)


def use_data(args: argparse.Namespace, jobs: list[Job]) -> None:
    """Check ``--data``; without it the quick, the frozen and the image suite render a world."""
    if args.data:
        needed = PARTS if args.suite == 'image' else dict.fromkeys(job.data for job in jobs)
        for folder in needed:
            if not Path(args.data, folder).is_dir():
                raise InputError(f"--data '{args.data}' has no folder '{folder}': put or link the data set there")
    elif args.suite in WORLDS:
        world = args.work_dir / ('world' if args.suite == 'quick' else f'{args.suite}_world')
        from mmdssl.datasets.sample_world import make_sample_world
        make_sample_world(world, **WORLDS[args.suite])
        args.data = world / 'imagenet' if args.suite == 'image' else world


def find_record(folder: Path, job: Job, key: dict[str, str]) -> dict | None:
    """The result of a job of these very weights and recipe."""
    wanted = dict(key, job=job.name, suite=job.suite)
    found = [record for record in own_results(folder) if wanted.items() <= record.items()]
    return found[-1] if found else None


def results(folder: Path) -> list[dict]:
    file = folder / 'results.jsonl'
    return read_records(file) if file.is_file() else []


def own_results(folder: Path) -> list[dict]:
    """Those that this command has written, of all that is in its file."""
    texts = 'job', 'suite', 'weights', 'source', 'task'
    return [record for record in results(folder) if all(isinstance(record.get(key), str) for key in texts)
            and isinstance(record.get('changes'), list) and isinstance(record.get('metrics'), dict)
            and all(isinstance(value, (int, float)) for value in record['metrics'].values())]


def run_job(job: Job, args: argparse.Namespace, key: dict[str, str], title: str, console: Console) -> dict | None:
    """Run a job, or the rest of it; returns its record, or None after saying why there is none."""
    folder = args.work_dir / job.name
    prepare(folder, key)
    log = folder / 'log.txt'
    console.print(f'{title}: log in {log}')
    code = run_command(command(job, args), log, title, console)
    record = None if code else final_record(folder, job)
    if code or not record:
        console.print(Text(f'{title} failed:', style='bold red'))
        console.print(Text('\n'.join(log.read_text().splitlines()[-TAIL:])))
        return None
    return record


def prepare(folder: Path, key: dict[str, str]) -> None:
    """An empty folder for a job, or the one in which it was begun."""
    note, text = folder / 'job.json', json.dumps(key)
    if note.is_file():
        if note.read_text(errors='replace') == text:
            return
        shutil.rmtree(folder)  # begun with other weights, data or another recipe, from which it must not go on
    elif folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"'{folder}' holds something else than a job of the benchmark: name another --work-dir")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(text)


def command(job: Job, args: argparse.Namespace) -> list[str]:
    rest = ['--work-dir', args.work_dir / job.name]
    rest += ['--data', args.data / job.data] if args.data else []
    rest += ['--random'] if job.random else []
    chosen = options(job, args)
    if job.suite in ('image', 'frozen') and job.on_features:
        chosen = [f'test_cfg.cache={args.work_dir / "features"}', *chosen]  # which all protocols share
    chosen = [*([f'randomness.seed={job.seed}'] if job.seed else []), *chosen]
    rest += ['--cfg-options', *chosen] if chosen else []
    if not job.trains:
        return tool('test', args.gpus, [job.file, args.checkpoint], *rest)
    amp = ['--amp', args.amp] if args.amp else []
    return tool('train', args.gpus, [job.file], '--pretrained', args.checkpoint, '--resume', *amp, *rest)


def tool(name: str, gpus: int, positional: list, *rest: str | Path) -> list[str]:
    """The command line of tools/train.py or tools/test.py, on one process or several."""
    if gpus == 1:
        return [str(part) for part in (sys.executable, find_tool(f'{name}.py'), *positional, *rest)]
    return [str(part) for part in ('bash', find_tool(f'dist_{name}.sh'), *positional, gpus, *rest)]


def run_command(command: list[str], log: Path, title: str, console: Console) -> int:
    """Run a command, its output in ``log`` and the last line of it on the console; returns its exit code."""
    environment = dict(os.environ, PYTHON=sys.executable, PYTHONUNBUFFERED='1')
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
    with open(log, 'a', buffering=1) as file, console.status(title) as status, \
            subprocess.Popen(command, env=environment, **pipe) as process:
        try:
            for line in process.stdout:
                file.write(line)
                message = line.rpartition(' - INFO - ')[2].strip()
                status.update(Text(f'{title}: {message}', no_wrap=True, overflow='ellipsis'))
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # with the workers of its data loaders
            raise
    return process.returncode


def final_record(folder: Path, job: Job) -> dict | None:
    """The record of the evaluation at the end of a run."""
    records = results(folder)
    if not records or not job.trains:
        return records[-1] if records else None
    from mmengine.config import Config
    length = Config.fromfile(folder / job.file.name).train_cfg  # as it ran
    unit, end = ('iteration', length.max_iters) if 'max_iters' in length else ('epoch', length.max_epochs)
    return records[-1] if records[-1].get(unit, 0) >= end else None


def report(args: argparse.Namespace, jobs: list[Job], keys: dict[Job, dict], source: str, console: Console) -> None:
    """Print the tables of all results of these weights and write them to ``table.md`` and ``table.html``."""
    mine = [record for record in own_results(args.work_dir) if record['source'] == source]
    # One recipe for all seeds: that of this command, or else the last one.
    recipes = {of_job(record): {key: record[key] for key in ('recipe', 'images') if key in record} for record in mine}
    recipes.update({(job.suite, job.measured, job.weights): keys[job] for job in jobs})
    found = [*{(record['suite'], record['job']): record for record in mine if recipes[of_job(record)].items() <= record.items()}.values()]
    quick, frozen, image = ([record for record in found if record['suite'] == suite] for suite in ('quick', 'frozen', 'image'))
    sections = [section(some) for section, some in ((quick_section, quick), (frozen_section, frozen), (frozen_section, image)) if some]
    published = [record for record in image if record.get('dataset_name') == 'imagenet-1k' and record['weights'] == 'pretrained']
    sections += compare(over_seeds([*published, *(record for record in found if record not in [*quick, *frozen, *image])]))
    if not sections:
        if args.table_only:
            raise InputError(f"'{args.work_dir}' has no results of '{args.checkpoint}': leave --table-only out")
        return
    Console(width=max(console.width, WIDTH), highlight=False).print(to_text(sections))
    title = f'Benchmark of {args.checkpoint}'
    (args.work_dir / 'table.md').write_text(to_markdown(sections, title))
    (args.work_dir / 'table.html').write_text(to_html(sections, title))
    console.print(f'Also in {args.work_dir / "table.md"} and {args.work_dir / "table.html"}')


def by_job(records: list[dict]) -> dict[str, dict[str, list[dict]]]:
    """The records of each job, those of random weights and of these; each a list over the seeds."""
    found: dict[str, dict[str, list[dict]]] = {}
    for record in records:
        _, measured, weights = of_job(record)
        found.setdefault(measured, {'random': [], 'pretrained': []})[weights].append(record)
    return found


def of_job(record: dict) -> tuple[str, str, str]:
    """What all seeds of a job share: suite, protocol and weights."""
    return record['suite'], record.get('measured', record['job'].removesuffix('_random')), record['weights']  # records of old lack it


def values(records: list[dict], name: str) -> list[float]:
    return [record['metrics'][name] for record in records if name in record['metrics']]


def average(found: list[float]) -> float | Spread | None:
    """Of seeds; a value alone as it is."""
    return Spread(mean(found), stdev(found)) if len(found) > 1 else found[0] if found else None


def over_seeds(records: list[dict]) -> list[dict]:
    """A record for all seeds of a job, as tables take it."""
    return [{**same[0], 'metrics': {name: average(values(same, name)) for name in same[0]['metrics']}}
            for pair in by_job(records).values() for same in pair.values() if same]


def is_chance(before: list[float], after: list[float]) -> bool:
    """Whether equal weights would differ as much too often, by Welch's t-test."""
    if len({*before}) == len({*after}) == 1:  # nothing depends on the seed
        return before[0] == after[0]
    from scipy.stats import ttest_ind_from_stats
    both = [part for found in (before, after) for part in (mean(found), stdev(found), len(found))]
    return not ttest_ind_from_stats(*both, equal_var=False).pvalue < CHANCE


def frozen_section(records: list[dict]) -> Section:
    """A line for each metric of each protocol: random weights, these, and the wall time of the jobs."""
    rows = []
    for protocol, pair in by_job(records).items():
        seconds = [duration([record['seconds'] for record in same if 'seconds' in record]) for same in pair.values()]
        names = dict.fromkeys(name for same in pair.values() for record in same for name in record['metrics'])
        for i, name in enumerate(names):
            both = [values(same, name) for same in pair.values()]
            before, after = map(average, both)
            gain = improvement(name, before, after)
            rows.append(Row([f'{protocol}: {name.replace("_", " ")}', plain(name, before), plain(name, after),
                             f'({gain})' if gain != DASH and tested(both) and is_chance(*both) else gain,
                             *(seconds if not i else ('', ''))]))
    named = next((label(record) for record in records if record['weights'] == 'pretrained'), 'these weights')
    common = [{record.get(key) for record in records} for key in ('dataset_name', 'backbone')]
    title = ', '.join(['Frozen features', *(value for values in common if len(values) == 1 and (value := values.pop()))])
    return Section(title, ['protocol', 'random weights', named, 'gain', 'seconds, random', 'seconds'], rows,
                   [*of_seeds(records, 'A gain in brackets is one that chance gives as well'), *changed(records)])


def tested(both: list[list[float]]) -> bool:
    return all(len(found) > 1 for found in both)


def of_seeds(records: list[dict], verdict: str) -> list[str]:
    """What ± means, or that there is no such thing."""
    number = max(len(same) for pair in by_job(records).values() for same in pair.values())
    if number == 1:
        return ['One seed each, which does not tell a gain from chance: --seeds 3 does.']
    return [f"Mean ± standard deviation of {number} seeds. {verdict} (Welch's t-test, p >= {CHANCE})."]


def changed(records: list[dict]) -> list[str]:
    """Where a recipe is another one than its config's."""
    return [f'Changed in {measured}: {", ".join(changes)}.' for measured, pair in by_job(records).items()
            if (changes := dict.fromkeys(change for same in pair.values() for record in same for change in record['changes']))]


def plain(name: str, value: float | Spread | None) -> str:
    if value is None or is_score(name) or is_error(name):
        return number(name, value)
    return f'{value.mean:.4g} ± {value.deviation:.2g}' if isinstance(value, Spread) else f'{value:.4g}'


def duration(seconds: list[float]) -> str:
    return f'{mean(seconds):.0f}' if seconds else DASH


def quick_section(records: list[dict]) -> Section:
    """Random weights against these, and in words which are better."""
    columns = {name: [values([record for record in records if (record['task'], record['weights']) == (task, weights)], name)
                      for weights in ('random', 'pretrained')]
               for task, names in QUICK_METRICS.items() for name in names}
    before, after = ([average(both[i]) for both in columns.values()] for i in range(2))
    gains = [improvement(name, *pair) for name, pair in zip(columns, zip(before, after))]
    named = next((label(record) for record in records if record['weights'] == 'pretrained'), 'these weights')
    rows = [Row(['random weights', *map(number, columns, before)]), Row([named, *map(number, columns, after)], ours=True)]
    rows += [Row([name, *(number(column, metrics.get(column)) for column in columns)]) for name, metrics in baselines(records).items()]
    rows.append(Row(['gain', *gains]))
    return Section('All tasks on the sample world', ['weights', *(name.replace('_', ' ') for name in columns)], rows,
                   [*sentences(dict(zip(columns, gains)), columns), *of_seeds(records, 'No difference is one that chance gives as well'),
                    *changed(records)])


def sentences(gains: dict[str, str], columns: dict[str, list[list[float]]]) -> list[str]:
    """What the gains say, a sentence per task and, with several seeds, one overall."""
    said, verdicts = [], []
    for task, (name, *_) in QUICK_METRICS.items():
        both, words = columns[name], f'{name.replace("_", " ")} {gains[name]}'
        if tested(both):
            verdicts.append('no different from' if is_chance(*both) else f'{"better" if mean(both[0]) < mean(both[1]) else "worse"} than')
            said.append(f'{task.capitalize()}: these weights are {verdicts[-1]} random ones ({words}).')
        elif all(both):
            said.append(f'{task.capitalize()}: {words} against random weights.')
    overall = f'Overall: these weights are better than random ones on {verdicts.count("better than")} of {len(verdicts)} tasks.'
    return [*said, overall] if verdicts else said
