"""A small labelled set, and the blocks of code of a page."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[2] / 'docs'


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """``set/{train,val}/{a,b}`` below ``tmp_path``, 12 images of noise in each."""
    for part in ('train', 'val'):
        for name in 'ab':
            (tmp_path / 'set' / part / name).mkdir(parents=True)
            for i in range(12):
                noise = np.random.default_rng([i, ord(name)]).integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(noise).save(tmp_path / 'set' / part / name / f'{i}.png')
    return tmp_path / 'set'


@pytest.fixture
def blocks():
    """Function that gives the blocks of a page in a language, in their order."""
    return lambda page, language: re.findall(rf'```{language}\n(.*?)```', (DOCS / f'{page}.md').read_text(), re.DOTALL)
