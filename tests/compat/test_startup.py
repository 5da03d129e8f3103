"""What every start of Python runs must be harmless."""
from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import mmdssl

STARTUP = Path(mmdssl.__file__).parent / 'compat/startup.py'


@pytest.fixture
def finder(monkeypatch):
    """The finder of a Python that has just started."""
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    return runpy.run_path(STARTUP)['MMDSSLFinder']


@pytest.fixture
def looks_for(finder, monkeypatch):
    """Function that looks for a module and returns the names of what is imported for it."""
    def look(name: str) -> list[str]:
        imported = []
        with monkeypatch.context() as patch:
            patch.setattr('builtins.__import__', lambda name, *_, **__: imported.append(name))
            found = finder.find_spec(name)
        assert found is None
        return imported
    return look


def test_nothing_is_imported_before_one_of_the_others_is(finder, looks_for):
    assert not looks_for('numpy') and finder in sys.meta_path
    assert looks_for('mmcv') == ['mmdssl'] and finder not in sys.meta_path
    assert not looks_for('mmseg')


def test_a_package_that_is_broken_breaks_no_other(finder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdssl', None)  # which cannot be imported
    with pytest.warns(UserWarning, match='cannot be imported before mmengine'):
        assert finder.find_spec('mmengine') is None
    assert finder not in sys.meta_path
