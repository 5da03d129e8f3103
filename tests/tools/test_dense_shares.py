"""tools/analysis/dense_shares.py, on images of a few pixels."""
from __future__ import annotations

from itertools import product

from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.results.records import read_records


def test_the_parts_make_up_the_step(load_tool, tmp_path, capsys):
    world, out = tmp_path / 'world', tmp_path / 'shares.jsonl'
    make_sample_world(world, train=10, val=10, size=16, coco=(4, 4), ade20k=(4, 4), clips=(0, 0), workers=1)
    configs = ['configs/segmentation/small_semfpn_world.py', 'configs/detection/small_mask-rcnn_world.py']
    tool = load_tool('analysis/dense_shares')
    assert tool.main([*configs, '--data', str(world), '--images', '2', '--steps', '1', '--out', str(out)]) == 0
    records = read_records(out)
    assert [(record['config'], record['of']) for record in records] == [*product(configs, ('training', 'testing'))]
    for record in records:
        assert all(seconds > 0 for seconds in record['seconds'].values())
        assert ('update' in record['seconds']) == (record['of'] == 'training')
    printed = capsys.readouterr().out
    assert 'small_mask-rcnn_world, training, a step: data ' in printed and 'small_semfpn_world, testing, a step: data ' in printed


def test_a_block_counts_without_what_ran_within_it(load_tool, monkeypatch):
    tool, clock = load_tool('analysis/dense_shares'), iter([0., 1., 4., 10.])
    monkeypatch.setattr(tool, 'now', lambda: next(clock))
    parts = tool.Parts()
    with parts.add('above', less='backbone'), parts.add('backbone'):
        pass
    assert parts == dict(backbone=3., above=7.)
