"""The console command and what is quick about every command."""
from __future__ import annotations

import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from mmdssl import cli
from mmdssl.checkpoint.convert import FORMS
from mmdssl.cli import arguments, convert, draw
from mmdssl.cli.guard import guarded
from mmdssl.engine.pictures import PICTURES
from mmdssl.home import command, started

ROOT = Path(__file__).parents[2]
TOOLS = sorted((ROOT / 'tools').glob('*.py'))
SLOW = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'transformers', 'timm', 'tensorboard', 'sklearn', 'scipy', 'cv2',
        'matplotlib', 'skimage', 'jinja2'}
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], *sys.argv[2:], '--help']
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    print('imported:', *{name.partition('.')[0] for name in sys.modules})
"""

FIRST_LINE = """
import builtins, importlib, sys
show = print

def first(line, **how):
    show(line, 'imported:', *{name.partition('.')[0] for name in sys.modules})
    sys.exit()

builtins.print = first
importlib.import_module('mmdssl.cli.' + sys.argv.pop(1)).main()
"""


def helped(script: Path, *arguments: str) -> tuple[str, set[str]]:
    """What ``--help`` prints, and the packages that were imported for it."""
    done = subprocess.run([sys.executable, '-c', HELP, script, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text, _, imported = done.stdout.rpartition('imported:')
    return text, set(imported.split())


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/somewhere/bin/mmdssl'])
    return cli.main


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.name)
def test_help_of_a_tool_imports_nothing_that_takes_time(tool):
    text, imported = helped(tool)
    assert f'usage: {tool.name}' in text
    assert not imported & SLOW


@pytest.mark.parametrize('name', ['train', 'test'])
def test_a_command_that_takes_time_to_start_says_so_before_it_does(name):
    done = subprocess.run([sys.executable, '-c', FIRST_LINE, name, 'a.py', *['b.pth'] * (name == 'test')],
                          cwd=ROOT, capture_output=True, text=True)
    line, _, imported = done.stdout.partition('imported:')
    assert line.startswith('a.py, by mmdssl') and 'builtins' in imported and not set(imported.split()) & SLOW


def test_help_lists_every_command_with_a_line_each():
    text, imported = helped(ROOT / 'mmdssl/__main__.py')
    for name in cli.COMMANDS:
        line, = [line for line in text.splitlines() if line.startswith(f'  {name} ')]
        assert len(line) < 140 and line.endswith('.') and line.split()[1][0].isupper()
    assert not imported & SLOW


def test_every_tool_that_is_a_command_is_one_of_the_console():
    called = {import_module(f'mmdssl.cli.{name.replace("-", "_")}').main.__module__ for name in cli.COMMANDS}
    lines = [line for tool in TOOLS for line in tool.read_text().splitlines() if line.startswith('from mmdssl.cli.')]
    assert called == {line.split()[1] for line in lines if line.endswith(' import main')}


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_each_command_has_its_own_help(main, capsys, name):
    with pytest.raises(SystemExit, match='0'):
        main([name, '--help'])
    assert f'usage: mmdssl {name} ' in capsys.readouterr().out


def test_without_a_command_all_are_named(main, capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    assert all(f'\n  {name} ' in said for name in cli.COMMANDS)


def test_an_unknown_command_is_a_sentence(main, capsys):
    assert main(['trian']) == 2
    assert capsys.readouterr().err == "error: there is no command 'trian': did you mean train?\n"
    assert main(['sing']) == 2
    assert capsys.readouterr().err.startswith("error: there is no command 'sing': give one of train, test, ")


def test_a_command_gets_its_arguments(main, capsys):
    assert main(['train', 'nowhere.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3']) == 2
    assert capsys.readouterr().err == ("error: config 'nowhere.py' does not exist: give the path of a config file, such as "
                                       'configs/pretrain/pqcl.py\n')
    assert sys.argv == ['mmdssl train', 'nowhere.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3']
    assert started() == ['mmdssl', 'train']
    assert started(by_torchrun=2) == ['torchrun', '--nproc_per_node', '2', '-m', 'mmdssl', 'train']


def test_in_a_checkout_the_tools_are_what_one_types(monkeypatch):
    assert command('benchmark', 'my run/backbone.safetensors') == "python tools/benchmark.py 'my run/backbone.safetensors'"
    assert command('train', 'pqcl.py', processes=8) == 'bash tools/dist_train.sh pqcl.py 8'
    monkeypatch.setattr('sys.argv', ['tools/train.py', 'pqcl.py'])
    assert started() == ['python', 'tools/train.py']
    assert started(by_torchrun=2) == ['torchrun', '--nproc_per_node', '2', 'tools/train.py']


def test_installed_the_console_command_is_what_one_types(monkeypatch, tmp_path):
    monkeypatch.setattr('mmdssl.home.HOME', tmp_path)
    assert command('make_saliency', 'images') == 'mmdssl make-saliency images'
    assert command('train', 'pqcl.py', processes=8) == 'torchrun --nproc_per_node 8 -m mmdssl train pqcl.py'


def test_choices_are_those_of_the_code_behind_them():
    assert tuple(convert.LIBRARIES) == tuple(FORMS)
    assert tuple(PICTURES) == draw.PICTURES


def test_a_config_of_a_package_that_is_missing_says_what_to_install(main, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: False)
    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet::_base_/default_runtime.py'\n")
    assert main(['train', str(tmp_path / 'mine.py')]) == 2
    assert capsys.readouterr().err.endswith("needs mmdet, which is not installed: pip install 'mmdssl[detection]'\n")


def test_a_signal_in_the_middle_of_an_import_ends_a_command_quietly(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mmdssl.engine.faults', None)  # which cannot be imported
    with pytest.raises(SystemExit) as end:
        guarded(lambda: sys.exit(143))
    assert end.value.code == 143 and capsys.readouterr().err == ''


def test_more_workers_than_cores_are_no_warning():
    """Which each process would print, of a config that is made for larger machines."""
    def messages() -> list[str]:
        DataLoader([0], num_workers=len(os.sched_getaffinity(0)) + 1)
        return [str(warning.message) for warning in caught]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert 'worker processes' in messages()[0]
        caught.clear()
        arguments._import_quietly('mmdssl')
        assert messages() == []
