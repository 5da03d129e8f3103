"""Sharded training: several gloo processes against one that is whole."""
from __future__ import annotations

import gc
import json
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from processes import run_ranks
from safetensors.torch import load_file
from sharded_ranks import CASES, NAMED, VIT, differences, run_as_rank, train

from mmdssl.engine.sharding import check_strategy
from mmdssl.errors import InputError
from mmdssl.registry import MODELS

sys.path.insert(0, str(Path(__file__).parents[1] / 'models/algorithms'))
from runs import BATCH, EPOCHS, IMAGES, STOPPED, draw_images, recipe, run, values_of

one = cache(train)
RUNS = {2: [(case, 'fsdp', i % 2) for i, case in enumerate(NAMED)] + [('mocov3', 'zero1', 0), ('dino', 'fsdp', 0, True),
            ('dino', None, 0, True), ('beit', None, 0, True)],
        4: [('ibot', 'fsdp', 0)]}
MODEL, LAST = CASES['dino'], IMAGES // BATCH * EPOCHS
HOOKS = [dict(type='AlgorithmHook'), dict(type='CollapseHook', interval=2), dict(type='ExportBackboneHook'), dict(type='RecordHook'),
         dict(type='VisualizeHook', what=['attention', 'crops'], number=2, bank=2)]
# By name, how a run is spread over two processes, and the run whose checkpoint it goes on from.
STRATEGIES = {'ddp': (None, None), 'zero1': ('zero1', None), 'fsdp': ('fsdp', None), 'fsdp again': ('fsdp', 'fsdp'),
              'zero1 to fsdp': ('fsdp', 'zero1')}


@pytest.fixture(scope='module', params=RUNS)
def ranks(request, tmp_path_factory) -> list[dict]:
    """What each of several processes has computed, by run."""
    folder = tmp_path_factory.mktemp('ranks')
    run_ranks(run_as_rank, request.param, folder, RUNS[request.param])
    return [torch.load(folder / f'{request.param}.{rank}') for rank in range(request.param)]


def test_sharded_training_is_that_of_one_process(ranks):
    wrong = {(run, rank): differences(found, one(run[0], None, run[2]), rank, len(ranks))
             for rank, runs in enumerate(ranks) for run, found in runs.items()}
    assert not {run: what[:5] for run, what in wrong.items() if what}
    assert len(wrong) == len(ranks) * len(RUNS[len(ranks)])


def train_dino(root: Path, name: str, strategy: str | None, before: str | None) -> None:
    """A run with everything that reads weights: checkpoints, an exported backbone, k-NN, records and pictures."""
    loader = dict(batch_size=4, dataset=dict(type='LabelledFolder', data_root=str(root / 'data'), resize=32, size=32))
    runner = run(MODEL, recipe(), root / 'data', root / name, before and root / before / f'iter_{STOPPED}.pth', shard=strategy,
                 custom_hooks=HOOKS, val_dataloader=loader, val_cfg=dict(type='ProtocolLoop', bank=loader),
                 val_evaluator=dict(type='KNNMetric', k=(1, 3)))
    if runner.rank == 0:
        torch.save(values_of(runner), root / name / 'values')


def train_as_rank(root: Path) -> None:
    torch.distributed.init_process_group('gloo')
    for name, strategy in STRATEGIES.items():
        train_dino(root, name, *strategy)
    gc.collect()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def runs(tmp_path_factory) -> dict[str, dict]:
    """By name, what a run has left: its last checkpoint, its values, its exported backbone, its folder."""
    root = tmp_path_factory.mktemp('runs')
    draw_images(root / 'data')
    run_ranks(train_as_rank, 2, root)
    train_dino(root, 'fsdp to one', None, 'fsdp')
    return {folder.name: dict(folder=folder, checkpoint=torch.load(folder / f'iter_{LAST}.pth', weights_only=False),
                              values=torch.load(folder / 'values'), backbone=load_file(folder / 'backbone.safetensors'))
            for folder in (root / name for name in [*STRATEGIES, 'fsdp to one'])}


@pytest.mark.parametrize(('name', 'other', 'tolerance'), [
    ('zero1', 'ddp', 0.), ('fsdp again', 'fsdp', 0.), ('fsdp', 'ddp', 1e-4), ('zero1 to fsdp', 'ddp', 1e-4),
    ('fsdp to one', 'ddp', 1e-4)])
def test_a_run_can_be_continued_with_any_strategy(runs, name, other, tolerance):
    found, expected = runs[name]['checkpoint'], runs[other]['checkpoint']
    for part in 'state_dict', 'optimizer':
        torch.testing.assert_close(found[part], expected[part], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(runs[name]['backbone'], runs[other]['backbone'], rtol=tolerance, atol=tolerance)
    losses = [[values['values'][name] for name in ('loss', 'entropy', 'kl')] for values in (runs[name], runs[other])]
    torch.testing.assert_close(*losses, rtol=10 * tolerance, atol=10 * tolerance)


def test_what_reads_whole_weights_works_in_a_sharded_run(runs):
    for name in 'fsdp', 'zero1':
        records = [json.loads(line) for line in (runs[name]['folder'] / 'results.jsonl').read_text().splitlines()]
        expected = [json.loads(line) for line in (runs['ddp']['folder'] / 'results.jsonl').read_text().splitlines()]
        assert [record['metrics'] for record in records] == [record['metrics'] for record in expected]
        assert {record['method'] for record in records} == {'DINO'} and len({record['config'] for record in records + expected}) == 1
        assert {path.name for path in (runs[name]['folder'] / 'pictures').iterdir()} == {'attention.png', 'crops.png'}


@pytest.mark.parametrize(('model', 'strategy', 'processes', 'told'), [
    (MODEL, 'zero1', 1, 'there is one: start several'),
    (dict(type='Classifier', backbone=VIT, num_classes=3), 'fsdp', 2, 'is for pretraining, and Classifier'),
    (dict(type='SwAV', backbone=VIT, projector=dict(hidden_dim=8, out_dim=4), num_prototypes=3), 'fsdp', 2, 'SwAV changes weights'),
    (dict(type='SimCLR', backbone=dict(type='mmdssl.TimmBackbone', name='resnet18'), projector=dict(hidden_dim=8, out_dim=4)), 'fsdp', 2,
     'the backbone of this SimCLR has none')])
def test_what_cannot_be_sharded_is_refused_by_name(model, strategy, processes, told):
    with pytest.raises(InputError, match=told):
        check_strategy(strategy, MODELS.build(model), processes)
