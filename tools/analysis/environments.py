"""Install mmdssl from nothing and try it, in an environment for each line of a table: python tools/analysis/environments.py OUT

Builds the wheel, and for each cell makes an environment with an interpreter that is found (``python3.12`` on the PATH, or pyenv's),
installs what pretraining needs and then the extras, and goes through the jobs in an empty folder: pretrain, evaluate, draw, report and
convert with the console command; train and resume with mmdet's and mmseg's own tools on our backbone, and what to do where resuming is
refused; MIM; some tests. Prints a Markdown table of seconds, sizes and verdicts, and appends each cell to ``OUT/environments.jsonl``;
exits with 1 where a job failed that should not have. An environment takes about 6 GB, and is deleted after its cell unless ``--keep`` is
given; ``uv`` installs, where it is on the PATH, else pip.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = Path(__file__).with_name('environments')
EXTRAS = 'detection,segmentation'
FINE = 'fine'
TESTS = ('test_package.py', 'test_arguments.py', 'compat', 'checkpoint/test_files.py', 'models/test_diagnostics.py',
         'engine/test_optim_wrapper.py', 'protocols/test_knn.py')
# What `pip install mmdssl` would replace: its dependencies beside OpenMMLab's own distributions, under which mmdssl goes without them.
OFFICIAL = ('mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2', 'ftfy', 'regex', 'setuptools<81')
OURS = ('timm>=1.0.23', 'filelock', 'jinja2', 'matplotlib', 'numpy', 'opencv-python', 'pillow', 'pyyaml', 'rich', 'safetensors',
        'scikit-learn', 'scipy>=1.12', 'shapely', 'tensorboard')


@dataclass(frozen=True)
class Cell:
    """A line of the table.

    Attributes:
        python: Version of the interpreter.
        torch: What is asked of torch and torchvision.
        official: With OpenMMLab's own distributions, instead of the maintained ones.
        refused: Jobs that are known to fail there.
    """
    python: str
    torch: tuple[str, ...] = ('torch', 'torchvision')
    official: bool = False
    refused: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return '-'.join([self.python, 'oldest' if '==' in self.torch[0] else 'newest', 'official' if self.official else 'maintained'])


OLDEST = ('torch==2.6.0', 'torchvision==0.21.0')
CELLS = [Cell('3.10', OLDEST), Cell('3.11'), Cell('3.12'), Cell('3.13'), Cell('3.13', OLDEST), Cell('3.14'),
         Cell('3.11', official=True, refused=('mmdet resumes', 'mmseg resumes'))]
CELLS = {cell.name: cell for cell in CELLS}

TINY = ('train_cfg.max_epochs=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=8', 'train_dataloader.num_workers=0')
VERSIONS = """
import sys, importlib.metadata as metadata
found = {each.name: each.version for each in metadata.distributions()}
print(sys.version.split()[0], *(f'{name}={found[name]}' for name in sorted(found) if 'mm' in name or name in ('torch', 'numpy')))
"""
PRETRAINING = ('world', 'pretrain', 'evaluate', 'draw', 'report', 'convert')  # what works without the extras
# By name, the words of a command: {bin} is the folder of the environment's programs, {site} that of its packages.
TOOL = '{bin}/python {site}/%s/.mim/tools/train.py %s.py --work-dir %s'
RESUMED = ' --cfg-options resume=True load_from=%s/iter_5.pth'
MMDET, MMSEG = TOOL % ('mmdet', 'detection', 'detection'), TOOL % ('mmseg', 'segmentation', 'segmentation')
ALLOWED = 'env TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 '
JOBS = {
    'world': '{bin}/mmdssl make-sample-world world --train 60 --val 20 --size 48 --coco 12 4 --ade20k 12 4 --clips 0 0 --voc 0 0 '
             '--saliency 0 --jhmdb 0 0 --vip 0 0 --spair 0 0 0 --nyu 0 0',
    'pretrain': '{bin}/mmdssl train mmdssl::small/pqcl.py --data world/imagenet/train --knn world/imagenet --work-dir run --cfg-options '
                + ' '.join(TINY),
    'evaluate': '{bin}/mmdssl test mmdssl::classification/knn.py run/backbone.safetensors --data world/imagenet --work-dir knn '
                '--cfg-options test_evaluator.k=10,20',
    'draw': '{bin}/mmdssl draw run/backbone.safetensors --images world/imagenet/val --out pictures',
    'report': '{bin}/mmdssl report run --out report.html',
    'convert': '{bin}/mmdssl convert run/backbone.safetensors timm --to timm',
    'mmdet': MMDET,
    'mmdet resumes': MMDET + RESUMED % 'detection',
    'mmdet resumes with mmdssl.Runner': MMDET + RESUMED % 'detection' + ' runner_type=mmdssl.Runner',
    'mmdet resumes where all is allowed': ALLOWED + MMDET + RESUMED % 'detection',
    'mmseg': MMSEG,
    'mmseg resumes': MMSEG + RESUMED % 'segmentation',
    'mmseg resumes with mmdssl.Runner': MMSEG + RESUMED % 'segmentation' + ' runner_type=mmdssl.Runner',
    'mmseg resumes where all is allowed': ALLOWED + MMSEG + RESUMED % 'segmentation',
    'mim': '{bin}/mim train mmdssl pretraining.py --gpus 0 --data world/imagenet/train --work-dir mim --cfg-options ' + ' '.join(TINY),
    'tests': '{bin}/python -m pytest -q -p no:cacheprovider --rootdir tests ' + ' '.join(f'tests/{test}' for test in TESTS),
}


def interpreter(version: str) -> str | None:
    """The path of a Python, None where there is none."""
    pyenv = sorted(Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'), 'versions').glob(f'{version}.*/bin/python3'))
    suitable = f'import sys; sys.exit(sys.version.split(".")[:2] != {version.split(".")})'
    for candidate in (shutil.which(f'python{version}'), *pyenv):  # pyenv's own python3.13 may be one that only complains
        if candidate and subprocess.run([candidate, '-c', suitable], capture_output=True).returncode == 0:
            return str(candidate)
    return None


def run(words: list[str], log: Path, cwd: Path) -> bool:
    """Whether a command succeeds; what it says is in the log."""
    environment = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    with open(log, 'w') as file:
        return subprocess.run(words, cwd=cwd, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode == 0


def megabytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob('*') if file.is_file()) // 10**6


def install(python: Path, packages: list[str], log: Path) -> bool:
    uv = shutil.which('uv')
    front = [uv, 'pip', 'install', '--python', str(python)] if uv else [str(python), '-m', 'pip', 'install', '--quiet']
    return run([*front, *packages], log, Path('/'))


def try_cell(cell: Cell, wheel: Path, out: Path, jobs: list[str], keep: bool) -> dict:
    """Install, and do the jobs in an empty folder."""
    folder = out / cell.name
    row = dict(cell=cell.name)
    python = interpreter(cell.python)
    if python is None:
        return dict(row, verdict=f'no Python {cell.python} here')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment, here = folder / 'env', folder / 'here'
    subprocess.run([python, '-m', 'venv', environment], check=True)
    programs = environment / 'bin'
    here.mkdir()
    for config in CONFIGS.glob('*.py'):
        shutil.copy(config, here)
    (here / 'tests').symlink_to(ROOT / 'tests')
    first = [name for name in jobs if name in PRETRAINING]
    rest = [name for name in jobs if name not in PRETRAINING and name != 'mim']
    steps = [('pretraining', [*cell.torch, str(wheel)], first), ('full', [*cell.torch, f'{wheel}[{EXTRAS}]', 'pytest'], rest)]
    if cell.official:
        steps = [('full', [*cell.torch, *OFFICIAL, *OURS, 'pytest'], []), ('mmdssl', ['--no-deps', str(wheel)], [*first, *rest])]
    if 'mim' in jobs:
        steps.append(('mim', ['openmim', 'setuptools<81'], ['mim']))
    failed, known = [], []
    for step, packages, due in steps:
        start = time.monotonic()
        if not install(programs / 'python', packages, folder / f'install-{step}.log'):
            failed.append(f'installing {step} failed ({last_line(folder / f"install-{step}.log")})')
            break
        row[f'{step}_seconds'], row[f'{step}_mb'] = round(time.monotonic() - start), megabytes(environment)
        if step != 'mim':
            row['versions'] = subprocess.run([programs / 'python', '-c', VERSIONS], capture_output=True, text=True).stdout.strip()
        site, = (environment / 'lib').glob('python*/site-packages')
        for name in due:
            log = folder / f'{name}.log'
            works, refused = run(JOBS[name].format(bin=programs, site=site).split(), log, here), name in cell.refused
            if not works:
                (known if refused else failed).append(f'{name} failed ({last_line(log)})')
            elif refused:
                failed.append(f'{name} works now')
    if not keep:
        shutil.rmtree(environment)
    return dict(row, verdict='; '.join([*(failed or [FINE]), *known]))


def last_line(log: Path) -> str:
    return next((line.strip() for line in reversed(log.read_text().splitlines()) if line.strip()), '')[:200]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='folder for environments and logs')
    parser.add_argument('--cells', nargs='+', choices=CELLS, default=list(CELLS), metavar='CELL', help=f'some of {", ".join(CELLS)}')
    parser.add_argument('--jobs', nargs='+', choices=JOBS, default=list(JOBS), metavar='JOB', help=f'some of {", ".join(JOBS)}')
    parser.add_argument('--keep', action='store_true', help='leave the environments')
    args = parser.parse_args(argv)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', out, ROOT], check=True)
    wheel, = out.glob('mmdssl-*.whl')
    rows = []
    for name in args.cells:
        rows.append(try_cell(CELLS[name], wheel, out, args.jobs, args.keep))
        with open(out / 'environments.jsonl', 'a') as file:
            file.write(json.dumps(rows[-1]) + '\n')
    columns = ('cell', 'versions', 'pretraining_seconds', 'pretraining_mb', 'full_seconds', 'full_mb', 'verdict')
    lines = [' | '.join(str(row.get(column, '')) for column in columns) for row in rows]
    print(' | '.join(columns).join('||'), '---'.join('|' * (len(columns) + 1)), *(f'| {line} |' for line in lines), sep='\n')
    return int(not all(row['verdict'].startswith(FINE) for row in rows))


if __name__ == '__main__':
    sys.exit(main())
