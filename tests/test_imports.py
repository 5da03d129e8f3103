"""Imports go down the list of rooms and never up."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mmdssl

ROOT = Path(mmdssl.__file__).parent
# From the top to the bottom; rooms of one storey do not know each other.
STOREYS = [{'cli'}, {'engine'}, {'results'}, {'checkpoint', 'protocols'}, {'models'}, {'visualization'}, {'datasets'}, {'schedules'},
           {'registry'}, {'arguments'}, {'errors', 'compat', 'home', 'lazy', 'news'}]
BELOW = {room: set().union(*STOREYS[i + 1:]) for i, storey in enumerate(STOREYS) for room in storey}
# compat runs before everything else, and results are data, among them the configs that checkpoint reads: neither may pull in more
BELOW.update(results={'checkpoint', 'errors', 'home', 'schedules', 'registry'}, compat={'errors'})


def imported(file: Path) -> set[str]:
    """The rooms that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = ['mmdssl', *file.relative_to(ROOT).parts][:-node.level] if node.level else []
            path = [*base, *(node.module or '').split('.')]
            found |= {'.'.join([*path, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.split('.')[1] for name in found if name.startswith('mmdssl.')} - {'__version__'}


@pytest.mark.parametrize('room', sorted(BELOW))
def test_imports_never_point_upwards(room):
    files = [ROOT / f'{room}.py'] if (ROOT / f'{room}.py').exists() else sorted((ROOT / room).rglob('*.py'))
    assert files
    upwards = {str(file.relative_to(ROOT)): wrong for file in files if (wrong := imported(file) - BELOW[room] - {room})}
    assert not upwards


def test_every_room_has_its_storey():
    assert {path.stem for path in ROOT.iterdir() if path.stem[0] not in '_.' and path.suffix in ('', '.py')} == set(BELOW)
