"""What is on a sheet, tile by tile."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

from mmdssl.visualization.sheet import Tile


@pytest.fixture
def tiles_of(monkeypatch):
    """Function ``tiles_of(module, draw, *args)``: rows of what ``draw`` puts on its sheet, ``(pixels as int, caption)`` or None."""
    def run(module: str, draw, *args):
        rows = []

        def keep(tiles, *_, **__):
            rows.extend([tile and (tile if isinstance(tile, Tile) else Tile(tile)) for tile in row] for row in tiles)
        monkeypatch.setattr(importlib.import_module(f'mmdssl.visualization.{module}'), 'sheet', keep)
        draw(*args)
        return [[tile and (np.array(tile.picture).astype(int), tile.caption) for tile in row] for row in rows]
    return run
