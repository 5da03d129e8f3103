"""tools/analysis/step_cost.py, on tiny networks."""
from __future__ import annotations

import pytest

from mmdssl.results.records import read_records

HEAD = ['model.head.num_prototypes=8', 'model.head.hidden_dim=16', 'model.head.bottleneck_dim=4']
PROJECTOR = ['model.projector.hidden_dim=16', 'model.projector.out_dim=8']


def test_every_method_is_measured_and_recorded(load_tool, tmp_path, capsys, monkeypatch):
    tool = load_tool('analysis/step_cost')
    few = {'train_dataloader.dataset.views.global_.size': 32,
           'model.backbone.arch': dict(_delete_=True, embed_dim=16, depth=2, num_heads=2)}
    monkeypatch.setattr(tool, 'METHODS', {
        name: method._replace(options={**(method.options or {}), **few}) for name, method in tool.METHODS.items()})
    file = tmp_path / 'new/records.jsonl'
    for name, options in (('pqcl', HEAD), ('bam', PROJECTOR)):
        assert tool.main([name, '--batch-size', '2', '--steps', '1', '--out', str(file), '--cfg-options', *options]) == 0
    records = {record['method']: record for record in read_records(file)}
    assert list(records) == ['pqcl', 'bam']
    shown = capsys.readouterr().out
    for name, record in records.items():
        metrics = record['metrics']
        assert metrics['lowest'] == metrics['ratio'] == pytest.approx(metrics['step_seconds'] / metrics['bare_seconds'])
        assert metrics['step_mib'] > 0 and metrics['memory'] == pytest.approx(metrics['step_mib'] / metrics['bare_mib'])
        assert set(record['profile']) == set(tool.KINDS) and record['profile']['matrix products'][1] > 0
        assert f'{name}: {metrics["ratio"]:.3f} times the bare work' in shown
    # Heads and queries add operations; a class token alone needs few of the last of two blocks.
    assert records['pqcl']['metrics']['operations'] > 1 > records['bam']['metrics']['operations']


def test_an_unknown_method_is_told_of(load_tool, capsys):
    with pytest.raises(SystemExit):
        load_tool('analysis/step_cost').main(['dinosaur'])
    assert 'there is no method dinosaur: choose from pqcl, dino-2' in capsys.readouterr().err
