"""What the GPU of this machine does with mmdssl: tests, steps, data path, searches and a short pretraining, as JSON and Markdown.

    bash tools/analysis/gpu_report.sh --data FOLDER

FOLDER has train/ and val/ with a folder of images for each class (tiny-imagenet-20, say); without it no network is trained. Parts run
one after another, each in a process of its own, for at most --minutes together: what has a result is not run again, so that a second
call does the rest, also of a call that was interrupted. With --cpu all parts run at tiny sizes on the CPU, which shows that they run and
nothing else.

A *step* is loss, backward, optimizer and the teacher's update, in bf16, of views made by the config's recipe. The *bare* work is the
backbone's forward and backward of all global and local views, and its forward of those that the teacher sees; methods that leave tokens
out can do with less. The model's FLOPs are those of a step as PyTorch counts them; their share of the peak, MFU, is of dense bf16.
"""
from __future__ import annotations

import argparse
import gc
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
METHODS = ('pqcl', 'dino', 'ibot', 'pqcl_dino', 'adclr', 'bam', 'mocov3', 'selfpatch', 'mae', 'maskfeat')
SIZES = {'ViT-S': 384, 'ViT-B': 768}
NAMED = {384: 'small', 768: 'base'}  # as configs call an `arch`
TEACHER_VIEWS = dict(bam=('global', 'local'))  # other teachers see the global ones
# Vendors' dense bf16 TFLOP/s, of fp16 where there is no bf16. The first name that the device's contains counts.
PEAKS = {'B200': 2250, 'GH200': 989, 'H200': 989, 'H100 PCIe': 756, 'H100 NVL': 835, 'H100': 989, 'A100': 312, 'L40S': 362, 'L40': 181,
         'L4': 121, 'A6000': 155, 'A40': 150, 'A30': 165, 'A10G': 70, 'A10': 125, 'RTX 4090': 165, 'RTX 3090': 71, 'V100': 125, 'T4': 65}
BACKENDS = {
    'Pillow': dict(backend='pillow'),
    'fast': dict(backend='fast', scaled_decoding=True),
    'fast, colours on the device': dict(backend='fast', scaled_decoding=True, photometric_device=True),
}
WARM, TIMED = 3, 10
WARM_UP = 1  # epochs of configs/small, which no run may be shorter than
IMAGES = 8  # different ones that views are made of
TAIL = 60  # lines of what a tool printed


def parts() -> dict[str, Callable[[argparse.Namespace], dict]]:
    """In their order; what takes the compiler comes last."""
    return {
        'machine': machine, 'tests': run_tests,
        **{f'step {method}': partial(steps, method=method, compiled=False) for method in METHODS},
        'data': data_path, 'hummingbird': hummingbird, 'propagation and k-NN': evaluation, 'training': training,
        **{f'compiled {method}': partial(steps, method=method, compiled=True) for method in METHODS},
    }


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 1 where a part failed or there was no time for it."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, metavar='FOLDER', help='images to pretrain on and to measure k-NN with')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_report'), help='folder for report.md, report.json and logs')
    parser.add_argument('--minutes', type=float, default=40., help='of this call')
    parser.add_argument('--train-minutes', type=float, default=10., help='of the pretraining')
    parser.add_argument('--batch-size', type=int, default=64, help='of a step; halved where memory does not suffice')
    parser.add_argument('--peak', type=float, metavar='TFLOPS', help='of the device in dense bf16, if it is not known here')
    parser.add_argument('--only', nargs='+', metavar='PART', help='parts whose name begins so')
    parser.add_argument('--cpu', action='store_true', help='tiny, on the CPU')
    parser.add_argument('--part', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.cpu:
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before PyTorch is imported
    if args.part:
        result_file(args, args.part).write_text(json.dumps(parts()[args.part](args)))
        return 0
    from mmdssl.results.records import append_line, commit
    args.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running part is ended too
    log, end = args.out / 'results.jsonl', time.monotonic() + 60 * args.minutes
    setting = dict(cpu=args.cpu, batch_size=args.batch_size, data=str(args.data and args.data.resolve()), commit=commit())
    chosen = [name for name in parts() if not args.only or name.startswith(tuple(args.only))]
    for name in chosen:
        if name in results(log, setting):
            continue
        if time.monotonic() > end - 5:
            print(f'{name}: no time left, the same command goes on')
            continue
        print(f'{name} ...', flush=True)
        start = time.monotonic()
        found = run_part(name, args, argv, end - start)
        seconds = round(time.monotonic() - start, 1)
        append_line(log, dict(part=name, **setting, seconds=seconds, time=time.strftime('%Y-%m-%dT%H:%M:%S'), **found))
        print(f'{name}: {"failed: " + found["error"] if "error" in found else "done"} ({seconds:.0f} s)', flush=True)
        write_report(args.out, results(log, setting), [], {})
    missing = [name for name in chosen if name not in results(log, setting)]
    write_report(args.out, results(log, setting), missing, errors(log, setting))
    print(f'{args.out / "report.md"}, and as JSON {args.out / "report.json"}')
    return int(bool(missing))


def results(log: Path, setting: dict) -> dict[str, dict]:
    """What parts found, by their names."""
    return {record['part']: record for record in _records(log, setting) if 'error' not in record}


def errors(log: Path, setting: dict) -> dict[str, str]:
    return {record['part']: record['error'] for record in _records(log, setting) if 'error' in record}


def _records(log: Path, setting: dict) -> list[dict]:
    from mmdssl.results.records import read_records
    return [record for record in read_records(log) if setting.items() <= record.items()] if log.is_file() else []


def result_file(args: argparse.Namespace, name: str) -> Path:
    return args.out / f'{name.replace(" ", "_")}.json'


def run_part(name: str, args: argparse.Namespace, argv: list[str], limit: float) -> dict:
    """``result``, or ``error``: on the CPU here, which saves importing PyTorch again, else where a crash ends nothing else."""
    if args.cpu:
        try:
            return dict(result=parts()[name](args))
        except Exception as error:
            return dict(error=one_line(error))
    file, log = result_file(args, name), result_file(args, name).with_suffix('.log')
    file.unlink(missing_ok=True)
    try:
        code = run_command([sys.executable, __file__, *argv, '--part', name], log, limit)
    except subprocess.TimeoutExpired:
        return dict(error='there was not enough time')
    if code or not file.is_file():
        return dict(error=f'{(log.read_text(errors="replace").strip().splitlines() or [""])[-1][:300]} (exit code {code}, {log})')
    return dict(result=json.loads(file.read_text()))


def run_command(command: list, log: Path, limit: float | None = None) -> int:
    """Run a command and end it, and all that it has started, where it takes too long or this process is to end."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))}
    with open(log, 'w') as file, subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, env=environment,
                                                  start_new_session=True) as process:
        try:
            return process.wait(limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # passed on by a part to the tool it runs, see main
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise


def tool(args: argparse.Namespace, name: str, *command) -> list[str]:
    """Run a Python command; returns what it printed.

    Raises:
        RuntimeError: It failed.
    """
    log = result_file(args, name).with_suffix('.txt').resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    code = run_command([sys.executable, *command], log)
    lines = log.read_text(errors='replace').splitlines()
    if code:
        raise RuntimeError(f'exit code {code}: {" / ".join(lines[-3:])} ({log})')
    return lines[-TAIL:]


def one_line(error: BaseException) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())[:300]


def machine(args: argparse.Namespace) -> dict:
    import torch

    from mmdssl.results.records import versions
    found = dict(device='CPU', cores=len(os.sched_getaffinity(0)), python=sys.version.split()[0], versions=versions())
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found.update(device=properties.name, memory_gib=round(properties.total_memory / 2**30, 1), peak_tflops=peak(args),
                     cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    elif not args.cpu:
        raise RuntimeError('PyTorch finds no GPU here: give --cpu to try the report on the CPU')
    return found


def peak(args: argparse.Namespace) -> float | None:
    import torch
    if args.peak or not torch.cuda.is_available():
        return args.peak
    name = torch.cuda.get_device_name()
    return next((rate for known, rate in PEAKS.items() if known in name), None)


def run_tests(args: argparse.Namespace) -> dict:
    """The tests of ``tests/cuda``; those that fail are a result, too."""
    file, log = result_file(args, 'tests').with_suffix('.xml').resolve(), result_file(args, 'tests').with_suffix('.txt').resolve()
    os.environ['MMDSSL_CUDA_TESTS'] = 'cpu' if args.cpu else 'cuda'
    run_command([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', f'--junitxml={file}', ROOT / 'tests/cuda'], log)
    found = {}
    for case in ElementTree.parse(file).iter('testcase'):
        outcome = next((child for child in case if child.tag in ('failure', 'error', 'skipped')), None)
        message = '' if outcome is None else f': {" ".join((outcome.get("message") or "").split())[:200]}'
        found[case.get('name')] = f'{"passed" if outcome is None else outcome.tag}{message}'
    return dict(tests=found)


def steps(args: argparse.Namespace, method: str, compiled: bool) -> dict:
    """By size of the transformer."""
    found = {}
    for name, width in ({'ViT-tiny': 64} if args.cpu else SIZES).items():
        batch_size = 2 if args.cpu else args.batch_size
        while name not in found:
            try:
                found[name] = measure_step(args, method, width, batch_size, compiled)
            except Exception as error:
                if 'out of memory' not in str(error) or batch_size < 2:
                    found[name] = dict(error=one_line(error))
            batch_size //= 2
    if all('error' in each for each in found.values()):
        raise RuntimeError(next(iter(found.values()))['error'])
    return found


def measure_step(args: argparse.Namespace, method: str, width: int, batch_size: int, compiled: bool) -> dict:
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope
    from torch.utils.flop_counter import FlopCounterMode

    from mmdssl.datasets import Views
    from mmdssl.engine.optim_wrapper import autocast
    from mmdssl.engine.runner import COMPILED_VERSIONS, Block
    from mmdssl.registry import DATASETS, MODELS
    if not DefaultScope.check_instance_created('gpu_report'):
        DefaultScope.get_instance('gpu_report', scope_name='mmdssl')
    torch.manual_seed(0)
    device, cuda = torch.device(get_device()), torch.cuda.is_available()
    cfg = Config.fromfile(ROOT / f'configs/{"small" if args.cpu else "pretrain"}/{method}.py')
    arch = cfg.model.backbone.arch
    cfg.model.backbone.arch = NAMED[width] if isinstance(arch, str) else dict(arch, embed_dim=width)
    cfg.optim_wrapper.update(type='OptimWrapper', amp='bf16')
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), IMAGES)
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=folder))
        samples = [dataset[0, 0, index] for index in range(min(IMAGES, batch_size))]
    algorithm = MODELS.build(cfg.model).to(device).train()
    views = Views.collate([samples[i % len(samples)] for i in range(batch_size)])
    views = algorithm.data_preprocessor(views, True)['views']
    wrapper = build_optim_wrapper(algorithm, cfg.optim_wrapper)
    for group in wrapper.param_groups:
        group['lr'] = 1e-6
    student, seen = MODELS.build(cfg.model.backbone).to(device).train(), TEACHER_VIEWS.get(method, ('global', ))
    images = {name: group.images.flatten(0, 1) for name, group in views.items() if name in ('global', 'local')}
    seen = [name for name in images if name in seen and hasattr(algorithm, 'teacher')]

    def step() -> None:
        with wrapper.optim_context(algorithm):
            total, _ = algorithm.parse_losses(algorithm(views))
        wrapper.update_params(total)
        algorithm.after_step()

    def bare() -> None:
        with autocast(device, 'bf16'):
            with torch.no_grad():
                for name in seen:
                    student.features(images[name])
            total = sum(student.features(some).float().sum() for some in images.values())
        total.backward()
        student.zero_grad()

    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()
    if compiled:
        torch._dynamo.reset()
        torch._dynamo.config.cache_size_limit = COMPILED_VERSIONS
        for module in algorithm.modules():
            if isinstance(module, Block):
                module.compile(**(dict(backend='eager') if args.cpu else {}))
    found = {}
    if cuda:
        found['synchronisations'] = synchronisations(step)
        torch.cuda.reset_peak_memory_stats()
        step()
        found['peak_gib'] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    warm, timed = (1, 2) if args.cpu else (WARM, TIMED)
    pairs = [(seconds(step), seconds(bare)) for _ in range(warm + timed)][warm:]
    whole, base = (statistics.median(times) for times in zip(*pairs))
    ratios = sorted(one / other for one, other in pairs)
    rate = peak(args)
    return dict(batch_size=batch_size, step_ms=1000 * whole, bare_ms=1000 * base, ratio=statistics.median(ratios), lowest=ratios[0],
                highest=ratios[-1], images_per_second=batch_size / whole, gflops_per_image=flops / batch_size / 1e9,
                mfu=flops / whole / rate / 1e12 if rate else None, **found)


def synchronisations(step: Callable[[], None]) -> int:
    """How often the processor waits for the GPU in a step."""
    import torch
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            step()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return sum('synchroniz' in str(warning.message) for warning in caught)


def seconds(function: Callable[[], None]) -> float:
    import torch
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def photographs(folder: Path, number: int) -> None:
    """JPEGs of the size of ImageNet's."""
    import numpy as np
    from PIL import Image
    rng = np.random.default_rng(0)
    for i in range(number):
        coarse, fine = (Image.fromarray(rng.integers(0, 256, size, np.uint8)).resize((500, 375)) for size in ((12, 16, 3), (94, 125, 3)))
        Image.blend(coarse, fine, 0.3).save(folder / f'{i:04d}.jpg', quality=90)


def data_path(args: argparse.Namespace) -> dict:
    """Images a second of PQCL's views, from JPEGs to normalised tensors on the device, with a worker for each core."""
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device

    import mmdssl.datasets  # noqa: F401  registers
    from mmdssl.engine import Runner
    from mmdssl.registry import MODELS
    cfg = Config.fromfile(ROOT / 'configs/pretrain/pqcl.py').train_dataloader.dataset
    workers, batch_size, limit = (1, 4, 2.) if args.cpu else (len(os.sched_getaffinity(0)), 64, 20.)
    different, links = (8, 2) if args.cpu else (64, 64 * max(1, workers // 8))
    preprocessor, found = MODELS.build(dict(type='mmdssl.ViewsPreprocessor')).to(get_device()), {}
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), different)
        for path in sorted(Path(folder).iterdir()):
            for link in range(1, links):
                os.link(path, path.with_name(f'{path.stem}-{link}.jpg'))
        for name, options in BACKENDS.items():
            dataset = {**cfg, 'type': 'mmdssl.ImageFolder', 'data_root': folder, **options}
            try:
                loader = Runner.build_dataloader(dict(
                    dataset=dataset, batch_size=batch_size, num_workers=workers, persistent_workers=True, drop_last=True,
                    pin_memory=torch.cuda.is_available(), sampler=dict(type='mmdssl.EpochSampler'),
                    collate_fn=dict(type='mmdssl.collate_views')), seed=0)
                for _ in loader:  # until all workers are at it and the files in memory
                    pass
                count, start = 0, time.perf_counter()
                while time.perf_counter() - start < limit:
                    for views in loader:
                        preprocessor(views, True)
                        count += batch_size
                        if time.perf_counter() - start > limit:
                            break
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                found[name] = dict(images_per_second=count / (time.perf_counter() - start), workers=workers)
            except Exception as error:
                found[name] = dict(error=one_line(error))
            loader = None
            gc.collect()  # its workers end here, not in those of the next, which are forks of this process
    return found


def hummingbird(args: argparse.Namespace) -> dict:
    sizes = ['--keys', 20_000, '--queries', 64, '--compared', 8] if args.cpu else ['--keys', 1_000_000, '--queries', 16_384]
    return dict(printed=tool(args, 'hummingbird', ROOT / 'tools/analysis/dense_search.py', *sizes, '--precision', 'bf16'))


def evaluation(args: argparse.Namespace) -> dict:
    sizes = ['--frames', 3, '--rounds', 1, '--patches', 32, '--bank', 5000, '--queries', 200] if args.cpu else []
    out = args.out.resolve() / 'evaluation_speed.jsonl'
    return dict(printed=tool(args, 'propagation and k-NN', ROOT / 'tools/analysis/evaluation_speed.py', *sizes, '--out', out))


def training(args: argparse.Namespace) -> dict:
    """PQCL on small images for some minutes, and its k-NN."""
    if not args.data:
        return dict(skipped='give --data FOLDER')
    data, epochs, workers = args.data.resolve(), WARM_UP + 1, 0 if args.cpu else min(16, len(os.sched_getaffinity(0)))
    options = [f'train_dataloader.num_workers={workers}', f'val_dataloader.num_workers={workers}', f'val_cfg.bank.num_workers={workers}',
               *(['train_dataloader.persistent_workers=False', 'val_evaluator.k=[10,20]'] if not workers else [])]
    if args.cpu:
        data = some_images(data, args.out.resolve() / 'some_images')
    else:
        start = time.monotonic()
        probe = train(args, 'probe', data, options, epochs)
        per_epoch = epoch_seconds(probe) or (time.monotonic() - start) / epochs
        epochs = max(epochs, int(60 * args.train_minutes / per_epoch))
    start = time.monotonic()
    folder = train(args, 'pqcl', data, options, epochs)
    from mmdssl.results.records import read_records
    record = read_records(folder / 'results.jsonl')[-1]
    return dict(epochs=epochs, seconds=round(time.monotonic() - start), metrics=record['metrics'])


def train(args: argparse.Namespace, name: str, data: Path, options: list[str], epochs: int) -> Path:
    folder = args.out.resolve() / name
    tool(args, f'training {name}', ROOT / 'tools/train.py', ROOT / 'configs/small/pqcl.py', '--data', data / 'train', '--knn', data,
         '--amp', 'bf16', '--work-dir', folder, '--cfg-options', *options, f'train_cfg.max_epochs={epochs}',
         f'train_cfg.val_interval={epochs}', 'train_cfg.val_before_train=False')
    return folder


def epoch_seconds(folder: Path) -> float | None:
    """Of the probe, by its log."""
    lines = [json.loads(line) for file in folder.glob('*/vis_data/scalars.json*') for line in file.read_text().splitlines()]
    lines = [line for line in lines if 'time' in line]
    return lines[-1]['time'] * lines[-1]['step'] / (WARM_UP + 1) if lines else None


def some_images(data: Path, folder: Path) -> Path:
    """Links to a few images of four classes."""
    for part in ('train', 'val'):
        for name in sorted(path for path in (data / part).iterdir() if path.is_dir())[:4]:
            (folder / part / name.name).mkdir(parents=True, exist_ok=True)
            for path in sorted(name.iterdir())[:10]:
                link = folder / part / name.name / path.name
                link.unlink(missing_ok=True)
                link.symlink_to(path)
    return folder


def write_report(out: Path, found: dict[str, dict], missing: list[str], failed: dict[str, str]) -> None:
    """``report.json`` and ``report.md``."""
    (out / 'report.json').write_text(json.dumps(dict(parts=found, missing=missing, errors={name: failed[name] for name in missing
                                                                                          if name in failed}), indent=1))
    text = {name: record['result'] for name, record in found.items()}
    lines = ['# mmdssl on this machine', '']
    if 'machine' in text:
        facts = dict(text['machine'])
        packages = facts.pop('versions')
        commit = found['machine'].get('commit')
        lines += [', '.join(f'{name} {value}' for name, value in facts.items() if value is not None) + f', commit {commit}. '
                  + ', '.join(f'{name} {value}' for name, value in packages.items()) + '.', '']
    if missing:
        reasons = '; '.join(f'{name} ({failed.get(name, "no time left")})' for name in missing)
        lines += [f'Not here, the same command goes on: {reasons}', '']
    if 'tests' in text:
        outcomes = text['tests']['tests']
        lines += ['## Tests', '', *(f'- {name}: {outcome}' for name, outcome in outcomes.items()), '']
    header = ['method', 'network', 'compiled', 'batch', 'step, ms', 'bare, ms', 'ratio (lowest, highest)', 'images/s', 'GFLOP/image', 'MFU',
              'GiB', 'synchronisations']
    rows = [step_row(part, network, each) for part, result in text.items() if part.startswith(('step ', 'compiled '))
            for network, each in result.items()]
    lines += table('Steps', header, rows)
    if 'data' in text:
        rows = [[name, each.get('error') or f'{each["images_per_second"]:.0f}', str(each.get('workers', ''))]
                for name, each in text['data'].items()]
        lines += table('Data path', ['backend', 'images/s', 'workers'], rows)
    if 'training' in text:
        result = text['training']
        lines += ['## PQCL on small images', '', result.get('skipped') or
                  f'{result["epochs"]} epochs in {result["seconds"]} s: '
                  + ', '.join(f'{name} {value:.1f}' for name, value in result['metrics'].items()), '']
    for name in ('hummingbird', 'propagation and k-NN'):
        if name in text:
            lines += [f'## {name[0].upper()}{name[1:]}', '', '```text', *text[name]['printed'], '```', '']
    (out / 'report.md').write_text('\n'.join(lines))


def step_row(part: str, network: str, each: dict) -> list[str]:
    kind, method = part.split(' ', 1)
    front = [method, network, 'yes' if kind == 'compiled' else 'no']
    if 'error' in each:
        return [*front, each['error'], *[''] * 8]
    mfu = f'{each["mfu"]:.1%}' if each['mfu'] else ''
    return [*front, str(each['batch_size']), f'{each["step_ms"]:.1f}', f'{each["bare_ms"]:.1f}',
            f'{each["ratio"]:.2f} ({each["lowest"]:.2f}, {each["highest"]:.2f})', f'{each["images_per_second"]:.0f}',
            f'{each["gflops_per_image"]:.1f}', mfu, str(each.get('peak_gib', '')), str(each.get('synchronisations', ''))]


def table(title: str, header: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    clean = [[re.sub(r'[|\n]', ' ', cell) for cell in row] for row in rows]
    return [f'## {title}', '', *(f'| {" | ".join(row)} |' for row in [header, ['---'] * len(header), *clean]), '']


if __name__ == '__main__':
    sys.exit(main())
