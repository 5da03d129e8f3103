from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def load_tool():
    """Function that imports a command of ``tools/`` afresh and returns its module."""

    def load(name: str):
        spec = importlib.util.spec_from_file_location(f'mmdssl_tools_{name}', Path(__file__).parents[2] / f'tools/{name}.py')
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
        spec.loader.exec_module(module)
        return module
    return load
