"""tools/sweep.py, with a tool that only pretends to evaluate."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmdssl.checkpoint import save_backbone
from mmdssl.cli import sweep
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records

TOOL = """
import json, os, sys
folder, config = sys.argv[sys.argv.index('--work-dir') + 1], os.path.basename(sys.argv[1])[:-3]
print('evaluating', *sys.argv[2:], os.environ.get('CUDA_VISIBLE_DEVICES'))
if 'broken' in sys.argv[2] and config == 'clustering':
    sys.exit('out of memory, or so')
with open(folder + '/results.jsonl', 'a') as file:
    print(json.dumps(dict(task=config, metrics={f'{config}_top1': 10. * ('--random' in sys.argv) + 62.5, 'second': 1.})), file=file)
"""
CONFIGS = ['--configs', 'configs/classification/knn.py', 'configs/classification/clustering.py']


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, tiny_backbone):
    """Function that sweeps over two checkpoints; returns the exit code and all that was printed."""
    tool = tmp_path / 'tool.py'
    tool.write_text(TOOL)
    monkeypatch.setattr(sweep, 'tool', lambda name, gpus, positional, *rest: [sys.executable, str(tool), *map(str, (*positional, *rest))])
    checkpoints = [tmp_path / name / 'backbone.safetensors' for name in ('whole', 'broken')]
    for path in checkpoints:
        path.parent.mkdir()
        save_backbone(MODELS.build(tiny_backbone), path, tiny_backbone, method='PQCL', epoch=15)

    def run(*args, configs=CONFIGS):
        code = sweep.main([*map(str, checkpoints), *configs, '--work-dir', str(tmp_path / 'sweep'), *map(str, args)])
        return code, ''.join(capsys.readouterr())
    return run


def logs(tmp_path: Path) -> dict[str, int]:
    """How often each evaluation was run."""
    return {f'{path.parent.parent.name.split("-")[0]}/{path.parent.name}': path.read_text().count('evaluating')
            for path in tmp_path.glob('sweep/*/*/log.txt')}


def test_every_checkpoint_is_evaluated_by_every_config_once(run, tmp_path):
    code, printed = run('--jobs', 2, '--devices', 3, 5)
    assert code == 1 and 'broken-backbone' in printed and 'out of memory, or so' in printed
    table = (tmp_path / 'sweep/table.md').read_text()
    assert '| checkpoint | knn: knn top1 | clustering: clustering top1 |' in table
    assert '| PQCL (whole/backbone.safetensors) | 62.5 | 62.5 |' in table
    assert '| PQCL (broken/backbone.safetensors) | 62.5 | – |' in table and 'Without a result: broken' in table
    assert {record['job'].split('-')[0] for record in read_records(tmp_path / 'sweep/results.jsonl')} == {'whole', 'broken'}
    assert {path.read_text().split('\n')[0].split()[-1] for path in tmp_path.glob('sweep/*/*/log.txt')} == {'3', '5'}
    assert logs(tmp_path) == {'whole/knn': 1, 'whole/clustering': 1, 'broken/knn': 1, 'broken/clustering': 1}

    code, printed = run()
    assert code == 1 and '3 of 4 evaluations: done before' in printed
    assert logs(tmp_path) == {'whole/knn': 1, 'whole/clustering': 1, 'broken/knn': 1, 'broken/clustering': 2}

    code, printed = run('--cfg-options', 'knn.test_evaluator.k=[1,3]', '--metrics', 'second', configs=CONFIGS[:2])
    assert code == 0 and 'done before' not in printed and 'knn: second' in (tmp_path / 'sweep/table.md').read_text()
    assert {path.read_text().split(' None')[0].split()[-1] for path in tmp_path.glob('sweep/*/knn/log.txt')} == {'test_evaluator.k=[1,3]'}


def test_the_data_of_one_config_goes_before_those_of_all(run, tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
    run('--data', f'knn={tmp_path / "a"}', tmp_path / 'b')
    used = {path.parent.name: path.read_text().split('--data ')[1].split()[0] for path in tmp_path.glob('sweep/*/*/log.txt')}
    assert used == dict(knn=str(tmp_path / 'a'), clustering=str(tmp_path / 'b'))


@pytest.mark.parametrize('args, message', [
    (['--cfg-options', 'other.a=1'], 'for no config of this sweep'),
    (['--data', 'knn=nowhere'], "--data 'knn=nowhere' is no folder"),
    (['--jobs', '0'], '--jobs must be at least 1'),
    (['--slurm', 'partition'], 'is not KEY=VALUE'),
    (['--table-only'], 'has no results'),
    (['missing.pth'], "checkpoint 'missing.pth' does not exist"),
])
def test_mistakes_are_explained(run, args, message):
    if '--slurm' in args:
        pytest.importorskip('submitit')
    configs = [*args, *CONFIGS] if args[0] == 'missing.pth' else CONFIGS
    code, printed = run(*([] if configs is not CONFIGS else args), configs=configs)
    assert code == 2 and message in printed


def test_submitit_runs_them_too(run, tmp_path):
    pytest.importorskip('submitit')
    code, _ = run('--slurm', 'timeout_min=5')
    assert code == 1 and logs(tmp_path) == {'whole/knn': 1, 'whole/clustering': 1, 'broken/knn': 1, 'broken/clustering': 1}
    assert '| PQCL (broken/backbone.safetensors) | 62.5 | – |' in (tmp_path / 'sweep/table.md').read_text()
