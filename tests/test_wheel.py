"""What is installed where there is no checkout."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ('mmdssl', 'configs', 'tools', 'MANIFEST.in', 'pyproject.toml', 'setup.py', 'README.md', 'LICENSE', 'model-index.yml')
INSTALLED = """
import mmdssl
from mmdssl.home import HOME, command, find_config, find_tool
site = HOME.parents[1]
assert str(site) == SITE
assert find_config('configs/small/pqcl.py') == find_config('mmdssl::small/pqcl.py') == HOME / 'configs/small/pqcl.py'
assert find_config('configs/small/nothing.py') is None
assert find_tool('dist_train.sh').is_file()
assert command('report', 'run') == 'mmdssl report run'

from mmengine.config import Config
assert Config.fromfile('project.py').model.type == 'PQCL'
print('all of it')
"""
STARTED = """
import site, sys
site.addsitedir(SITE)  # where .pth files are read, as at every start of Python
assert 'mmdssl' not in sys.modules

from mmengine.config import Config
assert Config.fromfile('project.py').default_scope == 'mmseg'
from mmcv.ops import batched_nms
assert 'mmseg' not in sys.modules
print('all of it')
"""


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """A folder in which the wheel is unpacked: pip wheel --no-deps --wheel-dir dist ."""
    source, site = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('site')
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / part, source / part)
    build = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', str(source), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = source.glob('*.whl')
    with ZipFile(wheel) as file:
        file.extractall(site)
    return site


def test_configs_and_tools_are_in_the_wheel(site):
    without_checkout = ['*.py', 'dist_*.sh', 'slurm_train.sh']
    for part, kinds in dict(configs=['**/*.py'], tools=without_checkout).items():
        files = {path.relative_to(ROOT / part) for kind in kinds for path in (ROOT / part).glob(kind)}
        assert files == {path.relative_to(site / 'mmdssl/.mim' / part) for path in (site / 'mmdssl/.mim' / part).rglob('*.*')}
    assert (site / 'mmdssl/.mim/model-index.yml').is_file()
    assert (site / 'mmdssl/py.typed').is_file()
    assert (site / 'mmdssl/results/report.html').is_file()
    assert not (site / 'configs').exists()


def test_a_wheel_works_without_a_checkout(site, tmp_path):
    (tmp_path / 'project.py').write_text("_base_ = 'mmdssl::small/pqcl.py'\n")
    done = subprocess.run([sys.executable, '-c', f'SITE = {str(site)!r}\n{INSTALLED}'], cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(site)))
    assert done.stdout == 'all of it\n', done.stderr


def test_where_it_is_installed_others_need_not_import_it_first(site, tmp_path):
    (tmp_path / 'project.py').write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    done = subprocess.run([sys.executable, '-c', f'SITE = {str(site)!r}\n{STARTED}'], cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=str(site)))
    assert done.stdout == 'all of it\n', done.stderr


def test_the_file_that_every_start_of_python_reads_is_one_line_that_starts_with_import(site):
    """Python runs no other lines of it."""
    line, = (site / 'mmdssl_startup.pth').read_text().splitlines()
    assert line.startswith('import ')


def test_the_wheel_names_its_console_command(site):
    entry_points, = site.glob('mmdssl-*.dist-info/entry_points.txt')
    assert 'mmdssl = mmdssl.cli:main' in entry_points.read_text()


def test_the_citation_names_the_version_of_the_wheel(site):
    metadata, = site.glob('mmdssl-*.dist-info')
    assert f'\nversion: {metadata.name.split("-")[1].removesuffix(".dist")}\n' in (ROOT / 'CITATION.cff').read_text()
