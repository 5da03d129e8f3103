"""The table of environments and the workflow that makes it name the same ones."""
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def environments():
    spec = importlib.util.spec_from_file_location('environments', ROOT / 'tools/analysis/environments.py')
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_workflow_makes_every_cell_with_its_interpreter(environments):
    workflow = yaml.safe_load((ROOT / '.github/workflows/tests.yml').read_text())
    cells = workflow['jobs']['environments']['strategy']['matrix']['include']
    assert {cell['cell']: cell['python'] for cell in cells} == {name: cell.python for name, cell in environments.CELLS.items()}


def test_jobs_name_tests_that_are_there(environments):
    assert all((ROOT / 'tests' / test).exists() for test in environments.TESTS)


def test_jobs_that_are_named_are_there(environments):
    named = {name for cell in environments.CELLS.values() for name in cell.refused} | {*environments.PRETRAINING}
    assert named <= {*environments.JOBS}


def test_an_interpreter_that_is_missing_is_said_and_nothing_installed(environments, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, 'interpreter', lambda version: None)
    row = environments.try_cell(environments.CELLS['3.14-newest-maintained'], tmp_path / 'a.whl', tmp_path, [], keep=False)
    assert row['verdict'] == 'no Python 3.14 here' and not list(tmp_path.iterdir())


def test_a_cell_is_installed_and_its_jobs_are_done_in_an_empty_folder(environments, tmp_path, monkeypatch):
    """With programs that do as little as installing and training can."""
    monkeypatch.setattr(environments, 'install', lambda python, packages, log: python.is_file())
    fails = '{bin}/python -c 1/0'
    works = '{bin}/python -c print(1)'
    monkeypatch.setattr(environments, 'JOBS', dict(good=works, bad=fails, known=fails, repaired=works))
    version = '.'.join(map(str, sys.version_info[:2]))
    monkeypatch.setattr(environments, 'interpreter', lambda wanted: sys.executable)
    cell = environments.Cell(version, refused=('known', 'repaired'))
    row = environments.try_cell(cell, tmp_path / 'a.whl', tmp_path / 'out', [*environments.JOBS], keep=False)
    error = '(ZeroDivisionError: division by zero)'
    assert row['verdict'] == f'bad failed {error}; repaired works now; known failed {error}'
    assert row['versions'].startswith(version) and not (tmp_path / 'out' / row['cell'] / 'env').exists()


def test_a_row_for_each_cell_is_printed_and_kept(environments, tmp_path, monkeypatch, capsys):
    """python tools/analysis/environments.py work_dirs/environments"""
    monkeypatch.setattr(environments.subprocess, 'run', lambda *args, **kwargs: (tmp_path / 'mmdssl-0.whl').touch())
    monkeypatch.setattr(environments, 'try_cell', lambda cell, wheel, out, jobs, keep: dict(
        cell=str(cell), verdict='fine' if cell is not environments.CELLS[[*environments.CELLS][-1]] else 'train failed'))
    assert environments.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.count('fine') == len(environments.CELLS) - 1
    assert len((tmp_path / 'environments.jsonl').read_text().splitlines()) == len(environments.CELLS)
