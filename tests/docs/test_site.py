"""The site is built without a warning, where Sphinx is installed."""
from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from processes import run_ranks

ROOT = Path(__file__).parents[2]
COMMAND = 'python -m sphinx -W --keep-going docs work_dirs/docs'


def test_it_is_built_by_one_command(tmp_path, monkeypatch):
    build = pytest.importorskip('sphinx.cmd.build')
    for package in ('furo', 'myst_parser'):
        pytest.importorskip(package)
    assert COMMAND in (ROOT / 'README.md').read_text()
    monkeypatch.chdir(ROOT)
    arguments = [dict.get({'work_dirs/docs': str(tmp_path)}, word, word) for word in shlex.split(COMMAND)[3:]]
    run_ranks(lambda: build.main(arguments))
    for name in ('index', 'quick_tour', 'api/mmdssl.models.algorithms'):
        assert (tmp_path / f'{name}.html').is_file()
    assert 'class="sig-name descname"><span class="pre">PQCL' in (tmp_path / 'api/mmdssl.models.algorithms.html').read_text()
