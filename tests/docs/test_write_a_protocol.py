"""The example of docs/write_a_protocol.md, as it is printed there."""
from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from processes import run_tool

from mmdssl.checkpoint import save_backbone
from mmdssl.protocols import Features
from mmdssl.registry import METRICS, MODELS
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
SMALLER = ['--cfg-options', 'test_dataloader.num_workers=0', 'test_cfg.bank.num_workers=0', 'test_dataloader.dataset.size=32',
           'test_cfg.bank.dataset.size=32']


def test_the_example_runs_by_its_own_commands(small_set, blocks, tmp_path, tiny_backbone, monkeypatch):
    protocol, config, _ = blocks('write_a_protocol', 'python')
    (tmp_path / 'my_protocols.py').write_text(protocol)
    (tmp_path / 'nearest_mean.py').write_text(config.replace('./configs', str(ROOT / 'configs')))
    torch.manual_seed(1)  # not the weights of --random
    save_backbone(MODELS.build(tiny_backbone), tmp_path / 'checkpoint.safetensors', tiny_backbone)
    monkeypatch.syspath_prepend(str(tmp_path))
    commands, = blocks('write_a_protocol', 'bash')
    for line in commands.splitlines():
        python, tool, *arguments = line.partition('  #')[0].removeprefix('PYTHONPATH=. ').split()
        assert (python, tool) == ('python', 'tools/test.py')
        given = [dict(CHECKPOINT='checkpoint.safetensors', SET='set').get(word, word) for word in arguments]
        run_tool('test', *given, *SMALLER, cwd=tmp_path)
    records = read_records(tmp_path / 'work_dirs/nearest_mean/results.jsonl')
    assert [record['task'] for record in records] == ['nearest-mean'] * 2
    assert len({record['checkpoint'] for record in records}) == 2


def test_it_scores_perfect_features_100_and_constant_ones_as_chance(blocks):
    exec(blocks('write_a_protocol', 'python')[0], {})
    labels = torch.arange(12) % 3
    classes = ['a', 'b', 'c']
    metric = METRICS.build(dict(type='NearestMeanMetric'))
    perfect, constant = (Features(values, labels, classes, [''] * 12) for values in (torch.eye(3)[labels], torch.ones(12, 3)))
    assert metric(perfect, perfect)['nearest_mean_top1'] == 100
    assert abs(metric(constant, constant)['nearest_mean_top1'] - 100 / 3) < 1e-4


def test_the_validation_of_a_run_takes_it(blocks, tmp_path):
    (tmp_path / 'run.py').write_text(f"_base_ = '{ROOT}/configs/small/dino.py'\n" + blocks('write_a_protocol', 'python')[2])
    assert [each.type for each in Config.fromfile(tmp_path / 'run.py').val_evaluator] == ['KNNMetric', 'NearestMeanMetric']
