from __future__ import annotations

import processes
import pytest


@pytest.fixture(scope='session')
def load_tool():
    """Function that imports a command of ``tools/`` and returns the module with its code."""
    return processes.load_tool
