"""The table of methods is asked for as pages say."""
from __future__ import annotations

import sys
from pathlib import Path

from processes import load_tool

COMMAND = 'python tools/analysis/compare_methods.py OUT --data SET --seeds 0 1 2'


def test_every_method_is_trained_with_every_seed(monkeypatch, tmp_path):
    module, trained = load_tool('analysis/compare_methods'), []
    monkeypatch.setattr(module, 'train', lambda method, seed, folder, data, args: trained.append((method, seed, folder, data)))
    words = [dict(OUT=str(tmp_path / 'out'), SET=str(tmp_path)).get(word, word) for word in COMMAND.split()[1:]]
    monkeypatch.setattr(sys, 'argv', words)
    assert module.main() == 0
    assert {(method, seed) for method, seed, *_ in trained} == {(method, seed) for method in module.METHODS for seed in (0, 1, 2)}
    assert {data for *_, data in trained} == {Path(tmp_path)}
    assert all((Path(module.ROOT) / f'configs/small/{method}.py').is_file() for method in module.METHODS)
