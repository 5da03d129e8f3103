from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """Twelve noise images of several sizes in two folders, one of them nested."""
    rng = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / ('first' if i < 6 else 'second/deep')
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + i, 50 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i:02d}.png')
    return tmp_path
