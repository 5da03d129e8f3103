"""tools/analysis/joint_views.py: what it compares gives the same numbers."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmdssl.models.layers.attention import QueryBlock
from mmdssl.results.records import read_records


@pytest.fixture
def tool(load_tool, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'tools/analysis')
    return load_tool('analysis/joint_views')


def test_together_they_come_out_as_one_by_one(tool):
    blocks = nn.ModuleList(QueryBlock(8, 2, qkv_bias=True, init_values=None) for _ in range(2)).double()
    groups = [torch.randn(3, 7, 8).double(), torch.randn(5, 4, 8).double()]
    results = []
    for forward in (tool.together, tool.one_by_one):
        outputs = forward(blocks, groups)
        results.append([*outputs, *torch.autograd.grad(sum(x.square().sum() for x in outputs), list(blocks.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_it_is_measured_and_recorded(tool, tmp_path, monkeypatch):
    monkeypatch.setitem(tool.ARCHITECTURES, 'tiny', dict(embed_dim=8, depth=1, num_heads=2))
    file = tmp_path / 'records.jsonl'
    assert tool.main(['--arch', 'tiny', '--depth', '1', '--batch-sizes', '1', '--steps', '1', '--out', str(file)]) == 0
    record, = read_records(file)
    assert record['metrics']['ratio'] == record['metrics']['lowest'] > 0 and record['batch_size'] == 1
