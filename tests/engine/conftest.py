"""Makes ``toy`` importable and gives every test a way to train it."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def train(tmp_path):
    """Function ``train(name='run', **changes) -> Runner`` that trains the toy in ``tmp_path / name``."""
    from toy import Runner, toy_config

    def run(name='run', **changes):
        runner = Runner.from_cfg(toy_config(tmp_path / name, **changes))
        runner.train()
        return runner
    return run
