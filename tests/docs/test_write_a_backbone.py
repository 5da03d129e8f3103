"""The example of docs/write_a_backbone.md, as it is printed there."""
from __future__ import annotations

from pathlib import Path

from processes import run_tool

from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
SMALLER = ['train_dataloader.batch_size=8', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
           'train_cfg.max_epochs=2', 'train_cfg.val_interval=2', 'val_dataloader.num_workers=0', 'val_cfg.bank.num_workers=0']


def test_the_example_trains_and_is_evaluated_by_its_own_commands(small_set, blocks, tmp_path, monkeypatch):
    network, config, protocol = blocks('write_a_backbone', 'python')
    (tmp_path / 'my_networks.py').write_text(network)
    for name, text in dict(convmixer=config, convmixer_knn=protocol).items():
        (tmp_path / f'{name}.py').write_text(text.replace('./configs', str(ROOT / 'configs')))
    monkeypatch.syspath_prepend(str(tmp_path))
    train, test = (block.strip().removeprefix('PYTHONPATH=. python ').replace('SET', 'set') for block in blocks('write_a_backbone', 'bash'))
    tool, *arguments = train.split()
    assert tool == 'tools/train.py'
    run_tool('train', *arguments, '--cfg-options', *SMALLER, cwd=tmp_path)
    tool, *arguments = test.split()
    assert tool == 'tools/test.py'
    run_tool('test', *arguments, '--cfg-options', 'test_evaluator.k=[5]', 'test_dataloader.num_workers=0',
             'test_cfg.bank.num_workers=0', cwd=tmp_path)
    before, after = read_records(tmp_path / 'work_dirs/convmixer/results.jsonl')
    assert before['backbone'] == after['backbone'] and before['checkpoint'] != after['checkpoint']
    measured, = read_records(tmp_path / 'work_dirs/convmixer_knn/results.jsonl')
    assert measured['checkpoint'] == after['checkpoint']
