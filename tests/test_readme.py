"""Every command of README.md and of the pages in docs/, as it is written there, on small data."""
from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from processes import load_tool

from mmdssl.checkpoint import save_backbone
from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.registry import MODELS, RUNNERS
from mmdssl.results.records import append_record

ROOT = Path(__file__).parents[1]
# Pages whose commands are a whole example have a test of their own, tests/docs/test_<page>.py.
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md',
         *(page for page in sorted((ROOT / 'docs').glob('*.md')) if not (ROOT / f'tests/docs/test_{page.stem}.py').exists())]
TEXT = '\n'.join(page.read_text() for page in PAGES)
RUNS = count()

# How each command is tested. run: really, with a tiny network in place of CONFIG; dry: with --dry-run and small batches; checked: all
# but building and training, so arguments, config, options and data; script: a shell script up to the program that it starts, which is
# checked; plan: the benchmark up to the commands of its jobs, which are checked; parsed: as far as its arguments; installs: it changes the
# environment, so only what it names is looked up; as: another command, on other files; and a path: the test that runs it.
COMMANDS = {
    'bash tools/quickstart.sh': 'script',
    'bash tools/run_tests.sh': 'script',
    'bash tools/run_tests.sh tests/engine -k resume': 'script',
    'python tools/quickstart.py': 'parsed',
    'python tools/make_sample_world.py WORLD': 'parsed',
    "pip install -e '.[test]'": 'installs',
    "pip install -e '.[docs]'": 'installs',
    'python -m sphinx -W --keep-going docs work_dirs/docs': 'tests/docs/test_site.py',
    'pip install .': 'installs',
    'pip install --no-deps .': 'installs',
    'pip install --no-deps -e .': 'installs',
    "pip install '.[detection,segmentation]'": 'installs',
    "pip install '.[saliency]'": 'installs',
    'pip wheel --no-deps --wheel-dir dist .': 'tests/test_wheel.py',
    'python tools/analysis/environments.py work_dirs/environments': 'tests/tools/test_environments.py',
    "pip install 'mmdssl[detection,segmentation]'": 'installs',
    'python tools/train.py configs/pretrain/pqcl.py --data /path/to/images': 'checked',
    'python tools/train.py configs/pretrain/pqcl.py --data /path/to/images --dry-run': 'checked',
    '--data LIST.txt': 'checked',
    '--amp bf16': 'checked',
    '--knn SET': 'checked',
    '--knn /path/to/labelled': 'checked',
    '--dense /path/to/masks': 'checked',
    'python tools/train.py CONFIG --dry-run': 'run',
    'python tools/train.py CONFIG --amp bf16': 'run',
    'python tools/train.py CONFIG --cfg-options compile=True': 'checked',
    'python tools/train.py CONFIG --resume': 'run',
    'python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=32 train_cfg.max_epochs=100': 'dry',
    'bash tools/dist_train.sh CONFIG 8': 'script',
    'bash tools/slurm_train.sh PARTITION JOB CONFIG': 'script',
    '--cfg-options default_hooks.checkpoint.by_epoch=False default_hooks.checkpoint.interval=1000': 'run',
    'python tools/train.py configs/small/dino.py --data SET/train --knn SET --amp bf16': 'dry',
    'tools/draw.py CHECKPOINT --what crops --config CONFIG --images FOLDER': 'run',
    'python tools/report.py WORK_DIR WORK_DIR --out report.html': 'run',
    'python tools/draw.py CHECKPOINT --images FOLDER': 'run',
    'python tools/draw.py work_dirs/pqcl/backbone.safetensors --images FOLDER': 'as python tools/draw.py CHECKPOINT --images FOLDER',
    'python tools/draw.py work_dirs/quickstart/run/epoch_15.pth --images work_dirs/quickstart/world/imagenet/val --number 4 --size 128':
        'run',
    'python tools/benchmark.py CHECKPOINT': 'plan',
    'python tools/benchmark.py work_dirs/pqcl/backbone.safetensors': 'as python tools/benchmark.py CHECKPOINT',
    'python tools/benchmark.py work_dirs/quickstart/run/backbone.safetensors': 'as python tools/benchmark.py CHECKPOINT',
    'python tools/benchmark.py CHECKPOINT --suite all --table-only': 'parsed',
    'python tools/benchmark.py CHECKPOINT --seeds 3': 'parsed',
    'python tools/analysis/compare_methods.py OUT --data SET --seeds 0 1 2': 'tests/tools/test_compare_methods.py',
    'python tools/benchmark.py CHECKPOINT --suite image --data SET': 'plan',
    'python tools/benchmark.py CHECKPOINT --suite frozen': 'plan',
    'python tools/benchmark.py CHECKPOINT --suite all --gpus 8': 'plan',
    'python tools/test.py configs/classification/knn.py CHECKPOINT --data SET': 'checked',
    'python tools/train.py configs/classification/linear_dino.py --pretrained CHECKPOINT --data SET': 'checked',
    'python tools/test.py configs/dense/hummingbird_voc12.py CHECKPOINT --data /path/to/VOC2012': 'checked',
    'python tools/train.py configs/dense/linear-leopart_voc12.py --pretrained CHECKPOINT --data /path/to/VOC2012': 'checked',
    'tools/convert_checkpoint.py SRC DST --to timm': 'run',
    'tools/convert_checkpoint.py SRC DST --to huggingface': 'run',
    'tools/convert_checkpoint.py SRC DST --to mmdssl': 'run',
    'python tools/train.py configs/detection/mask-rcnn_vit-small_1x_coco.py --pretrained CHECKPOINT --data /path/to/coco --amp fp16':
        'checked',
    'bash tools/dist_train.sh configs/segmentation/upernet_vit-small_160k_ade20k.py 8 --pretrained CHECKPOINT': 'script',
    'python tools/test.py work_dirs/NAME/NAME.py work_dirs/NAME/epoch_12.pth': 'checked',
    'bash tools/dist_test.sh configs/video/davis2017.py CHECKPOINT 8': 'script',
    'python tools/eval_davis.py PREDICTIONS /path/to/davis': 'run',
    '--cfg-options test_evaluator.out_dir=masks test_evaluator.overlays=pictures': 'checked',
}
# What an inline fragment belongs to.
FRAGMENTS = {
    '--data': 'python tools/train.py CONFIG',
    '--amp': 'python tools/train.py CONFIG',
    '--knn': 'python tools/train.py CONFIG --data /path/to/images',
    '--dense': 'python tools/train.py CONFIG --data /path/to/images --knn /path/to/labelled',
    '--cfg-options default_hooks': 'python tools/train.py CONFIG',
    '--cfg-options test_evaluator': 'python tools/test.py configs/video/davis2017.py CHECKPOINT',
}


def commands(text: str) -> list[str]:
    """The commands of blocks of bash, and those between backticks that have arguments; ``a|b`` is one command each."""
    found = [line.partition('  #')[0].strip() for block in re.findall(r'```bash\n(.*?)```', text, re.S) for line in block.splitlines()]
    inline = [' '.join(code.split()) for code in re.findall(r'(?<!`)`([^`]+)`(?!`)', text)]
    found += [code for code in inline if re.match(r'(tools/\S+\.(py|sh)|python|bash|pip|--[\w-]+) [^#]', code) and '...' not in code]
    return [' '.join([*command.split()[:-1], choice]) for command in filter(None, found) for choice in command.split()[-1].split('|')]


class Reached(Exception):
    """A checked command has come to where it would build its runner."""


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    """Folder with all that commands name: ``data``, a checkpoint, images, configs and ``tools``."""
    root = tmp_path_factory.mktemp('readme')
    make_sample_world(root / 'world', train=20, val=10, size=32, coco=(2, 1), ade20k=(2, 1), clips=(0, 1), frames=4, voc=(2, 1),
                      saliency=1, jhmdb=(0, 1), vip=(0, 1), spair=(0, 0, 10), nyu=(2, 1), workers=1)
    (root / 'data/ade').mkdir(parents=True)
    (root / 'world/voc/SegmentationClassAug').symlink_to('SegmentationClass')
    for kind in ('images', 'annotations'):
        (root / 'masks' / kind).mkdir(parents=True)
        for part, theirs in (('train', 'training'), ('val', 'validation')):
            (root / 'masks' / kind / part).symlink_to(root / 'world/ade20k' / kind / theirs)
    (root / 'masks/classes.txt').symlink_to(root / 'world/ade20k/classes.txt')
    for link, target in {'data/coco': 'world/coco', 'data/davis': 'world/davis', 'data/ade/ADEChallengeData2016': 'world/ade20k',
                         'predictions': 'world/davis/Annotations/480p'}.items():
        (root / link).symlink_to(root / target)
    for name in ('tools', 'configs'):
        (root / name).symlink_to(ROOT / name)
    backbone = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=4, num_heads=2), patch_size=16, img_size=32)
    save_backbone(MODELS.build(backbone), root / 'checkpoint.safetensors', backbone)
    (root / 'photos').mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 50, 3), np.uint8)).save(root / f'photos/{i}.jpg')
    (root / 'list.txt').write_text('photos/0.jpg\nphotos/1.jpg\n')
    (root / 'work_dirs/NAME').mkdir(parents=True)
    append_record(root / 'work_dirs/NAME/results.jsonl', task='knn', method='DINO', backbone='vit-s/16', metrics=dict(knn20_top1=10.))
    Config.fromfile(ROOT / 'configs/detection/mask-rcnn_vit-small_1x_coco.py').dump(root / 'work_dirs/NAME/NAME.py')
    return root


@pytest.fixture
def ready(place, monkeypatch):
    """Function that turns a command of the README into one on the small data."""
    monkeypatch.chdir(place)

    def fill(command: str) -> list[str]:
        tiny = place / 'tiny.py'
        tiny.write_text(f"""
_base_ = '{ROOT}/configs/small/dino.py'
model = dict(backbone=dict(arch=dict(depth=1)))
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root='world/imagenet/train'))
val_dataloader = dict(num_workers=0, dataset=dict(data_root='world/imagenet/val'))
val_cfg = dict(bank=dict(num_workers=0, dataset=dict(data_root='world/imagenet/train')))
train_cfg = dict(max_epochs=1)
param_scheduler = None
experiment_name = 'readme{next(RUNS)}'
""")
        config = 'configs/pretrain/bam_contrastive-crop.py' if 'draw.py' in command else tiny
        places = {
            'CONFIG': config, 'CHECKPOINT': 'checkpoint.safetensors', '/path/to/images': 'photos', '/path/to/labelled': 'world/imagenet',
            '/path/to/masks': 'masks', '/path/to/VOC2012': 'world/voc',
            'SET/train': 'world/imagenet/train', 'SET': 'world/imagenet', '/path/to/coco': 'data/coco', '/path/to/davis': 'data/davis',
            'work_dirs/pqcl/backbone.safetensors': 'checkpoint.safetensors',
            'work_dirs/quickstart/run/backbone.safetensors': 'checkpoint.safetensors',
            'work_dirs/quickstart/run/epoch_15.pth': 'checkpoint.safetensors', 'work_dirs/quickstart/world/imagenet/val': 'photos',
            'LIST.txt': 'list.txt', 'PREDICTIONS': 'predictions', 'WORK_DIR': 'work_dirs/NAME', 'FOLDER': 'photos',
            'SRC': 'checkpoint.safetensors', 'DST': 'converted.safetensors'}
        return [str(places.get(word, word)) for word in shlex.split(command)]
    return fill


@pytest.fixture
def tool():
    """Function that returns the module with the code of a command, by its path in ``tools/``."""
    return lambda path: load_tool(Path(path).stem)


@pytest.fixture
def check(tool, monkeypatch):
    """Function that follows a command of ``tools/train.py`` or ``tools/test.py`` to where it would build its runner."""

    def reached(*args, **kwargs):
        raise Reached

    def run(path: str, *arguments: str) -> None:
        module = tool(path)
        monkeypatch.setattr(RUNNERS, 'build', reached)
        with pytest.raises(Reached):
            raise AssertionError(f'exit code {module.main(list(arguments))}')
    return run


def test_every_command_is_tested():
    assert set(commands(TEXT)) == set(COMMANDS)


@pytest.mark.parametrize('command', [command for command, how in COMMANDS.items() if how.startswith('tests/')])
def test_the_test_that_runs_it_is_there(command):
    assert command in (ROOT / COMMANDS[command]).read_text()


@pytest.mark.parametrize('command', [command for command, how in COMMANDS.items() if how.startswith('as ')])
def test_commands_on_other_files(command, ready):
    other = COMMANDS[command].removeprefix('as ')
    assert other in COMMANDS and ready(command) == ready(other)


def of_kind(kind: str) -> list[str]:
    return [command for command, how in COMMANDS.items() if how == kind]


def words(command: str, ready) -> list[str]:
    whole = next((f'{start} {command}' for fragment, start in FRAGMENTS.items() if command.startswith(fragment)), command)
    found = ready(whole)
    return found[1:] if found[0] == 'python' else found


@pytest.mark.parametrize('command', of_kind('run'))
def test_commands_that_run(command, ready, tool):
    path, *arguments = words(command, ready)
    assert tool(path).main(arguments) == 0


@pytest.mark.parametrize('command', of_kind('dry'))
def test_commands_that_only_say_what_they_would_do(command, ready, tool):
    path, *arguments = words(command, ready)
    if '--cfg-options' not in arguments:
        arguments += ['--cfg-options', 'train_dataloader.batch_size=8', 'train_dataloader.num_workers=0',
                      'train_dataloader.persistent_workers=False']
    else:
        arguments += ['train_dataloader.drop_last=False']
    assert tool(path).main([*arguments, '--dry-run']) == 0


@pytest.mark.parametrize('command', of_kind('parsed'))
def test_commands_whose_arguments_are_read(command, ready, tool, monkeypatch):
    path, *arguments = words(command, ready)
    module, reached = tool(path), []
    monkeypatch.setattr(module, 'guarded', lambda *work: reached.append(work) or 2)
    assert module.main(arguments) == 2 and reached


@pytest.mark.parametrize('command', of_kind('checked'))
def test_commands_that_are_checked(command, ready, check):
    check(*words(command, ready))


@pytest.mark.parametrize('command', of_kind('script'))
def test_scripts_start_what_can_run(command, ready, check, tmp_path, monkeypatch):
    """With a program in place of Python, srun and ruff that prints its arguments."""
    echo = tmp_path / 'bin/echo-arguments'
    echo.parent.mkdir()
    echo.write_text('#!/usr/bin/env bash\nprintf "%q " "$@"\necho\n')
    echo.chmod(0o755)
    for name in ('srun', 'ruff', 'python'):
        (echo.parent / name).symlink_to(echo)
    words = ready(command)
    if 'dist' not in command and 'slurm' not in command:  # they use the environment of their own folder
        shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
        (tmp_path / 'tools/make_env.sh').write_text('')
        (tmp_path / '.venv').mkdir()
        (tmp_path / '.venv/bin').symlink_to(echo.parent)
        words[1] = str(tmp_path / words[1])
    variables = dict(os.environ, PYTHON='started-python', PATH=f'{echo.parent}:{os.environ["PATH"]}', NNODES='2', PORT='29511')
    (echo.parent / 'started-python').symlink_to(echo)
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line.strip()]
    if 'run_tests' in command:
        assert lines[0][0] == 'check' and lines[1][:2] == ['-m', 'pytest']
        return
    started, = (line for line in lines if any(word.endswith('.py') for word in line))
    script, = (i for i, word in enumerate(started) if word.endswith(('tools/train.py', 'tools/test.py', 'tools/quickstart.py')))
    if 'quickstart' in command:
        assert (ROOT / started[script]).is_file() and not started[script + 1:]
        return
    before = started[:script]
    if 'dist' in command:
        from torch.distributed.run import get_args_parser
        assert before[:2] == ['-m', 'torch.distributed.run']
        parsed = get_args_parser().parse_args([*before[2:], started[script]])
        assert (parsed.nnodes, parsed.nproc_per_node, parsed.master_port) == ('2', '8', 29511)
    else:
        assert before[:4] == ['--partition', 'PARTITION', '--job-name', 'JOB']
    path, *arguments = started[script:]
    assert Path(path).samefile(ROOT / f'tools/{Path(path).name}')
    check(f'tools/{Path(path).name}', *arguments)


@pytest.mark.parametrize('command', of_kind('plan'))
def test_the_jobs_of_the_benchmark_can_run(command, ready, tool, check, monkeypatch):
    path, *arguments = ready(command)[1:]
    module, jobs = tool(path), []
    monkeypatch.setattr('mmdssl.datasets.sample_world.make_sample_world',
                        lambda root, **kwargs: shutil.copytree('world', root, dirs_exist_ok=True))
    monkeypatch.setattr(module, 'run_job', lambda job, args, *rest: jobs.append(module.command(job, args)))
    monkeypatch.setattr(module, 'report', lambda *args: None)
    assert module.main(arguments) == 1  # no job gives a record
    assert len(jobs) == (5 if 'all' in arguments else 18 if 'image' in arguments else 32 if 'frozen' in arguments else 6)
    for job in jobs:
        if job[0] == 'bash':
            assert Path(job[1]).is_file() and '8' in job
            job = [job[1].replace('dist_', '').replace('.sh', '.py'), *(word for word in job[2:] if word != '8')]
        else:
            job = job[1:]
        check(os.path.relpath(job[0], ROOT), *job[1:])


@pytest.mark.parametrize('command', of_kind('installs'))
def test_what_is_installed_is_there(command):
    assert (ROOT / 'setup.py').is_file()
    for extra in re.findall(r'\[(\w+)\]', command):
        assert re.search(rf'^{extra} = \[', (ROOT / 'pyproject.toml').read_text(), re.M)


def test_flags_and_files_that_are_named_exist(tool, capsys):
    for path in ('train', 'draw', 'benchmark', 'convert_checkpoint', 'eval_davis', 'sweep'):
        with pytest.raises(SystemExit):
            tool(path).main(['--help'])
    known = capsys.readouterr().out
    for flag in re.findall(r'`(--[\w-]+)`', TEXT):
        assert f'{flag} ' in known or f'{flag}]' in known, flag
    for name in re.findall(r'`((?:tools|configs|mmdssl)/[\w./-]+)`', TEXT):
        assert (ROOT / name).exists(), name
