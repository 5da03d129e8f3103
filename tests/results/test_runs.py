"""What a work dir tells, whole or damaged."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_folders import STEPS, lines_of, make_run, record, session
from torch.utils.tensorboard import SummaryWriter

from mmdssl.errors import InputError
from mmdssl.results.runs import read_run, read_runs
from mmdssl.results.summary import loss_of_quality


def losses(folder: Path) -> dict[int, float]:
    return {line['step']: line['loss'] for line in read_run(folder).scalars}


def written(folder: Path, time: str) -> dict[int, float]:
    return {line['step']: line['loss'] for line in lines_of(folder / time / 'vis_data/scalars.json') if 'iter' in line}


def test_a_whole_run(tmp_path):
    run = read_run(make_run(tmp_path / 'run', seed=3))
    assert (run.method, run.seed, run.length, run.progress, run.finished, run.epoch_length) == ('DINO', 3, ('epochs', 3), 3, True, 4)
    assert losses(tmp_path / 'run') == written(tmp_path / 'run', '20260101_000000') and len(run.scalars) == len(STEPS)
    assert [each['iteration'] for each in run.records] == [0, 4, 8, 12]
    assert run.notes == []


def test_a_resumed_run_has_each_step_once(tmp_path):
    """Killed after iteration 10, resumed from 6: steps 8 and 10 are those of the second session."""
    folder = make_run(tmp_path / 'run', steps=range(2, 11, 2))
    session(folder, '20260102_000000', 6, np.random.default_rng(9), range(8, 13, 2))
    first, second = written(folder, '20260101_000000'), written(folder, '20260102_000000')
    assert first[8] != second[8]
    assert losses(folder) == {step: first[step] for step in (2, 4, 6)} | second


def test_a_run_that_began_again_has_nothing_of_the_one_before(tmp_path):
    folder = make_run(tmp_path / 'run', steps=range(1, 13))
    session(folder, '20260102_000000', 0, np.random.default_rng(9), (4, 8))
    assert losses(folder) == written(folder, '20260102_000000')
    with open(folder / 'results.jsonl', 'a') as file:
        file.writelines(json.dumps(record(method='DINO', epoch=epoch, iteration=4 * epoch, metrics=dict(knn20_top1=1. + epoch))) + '\n'
                        for epoch in (0, 1))
    assert [each['metrics'] for each in read_run(folder).records] == [dict(knn20_top1=1.), dict(knn20_top1=2.)]


def test_scalars_that_only_tensorboard_has(tmp_path):
    folder = make_run(tmp_path / 'run')
    lines = [line for line in lines_of(folder / '20260101_000000/vis_data/scalars.json') if 'iter' in line]
    (folder / '20260101_000000/vis_data/scalars.json').unlink()
    with SummaryWriter(str(folder / '20260101_000000/vis_data')) as writer:
        for line in lines:
            for name, value in line.items():
                writer.add_scalar(name, value, line['step'])
        writer.add_scalar('knn20_top1', 10., 2)
    found = read_run(folder).scalars
    assert [line['iter'] for line in found] == list(STEPS)
    assert np.allclose([line['loss'] for line in found], [line['loss'] for line in lines])


@pytest.mark.parametrize('damage, sentence', [
    (lambda folder: (folder / '20260101_000000/vis_data/scalars.json').open('a').write('{"loss": 5.1, "it'),
     'scalars.json, line 11: this is no whole'),
    (lambda folder: (folder / 'results.jsonl').open('a').write('{"task": "knn", "metrics": [1]}\n'), 'no record of an evaluation'),
    (lambda folder: (folder / 'results.jsonl').open('a').write('{"task": "knn", "metrics": {}, "dataset": {"a": 1}}\n'), 'no record of an'),
    (lambda folder: (folder / 'dino.py').write_text('model = dict(type='), 'The config cannot be read'),
    (lambda folder: (folder / '20260101_000000/session.json').write_text('{"comm'), 'session.json is damaged'),
    (lambda folder: (folder / '20260101_000000/session.json').write_text('{"epoch_length": "4"}'), 'session.json is damaged'),
    (lambda folder: (folder / 'results.jsonl').unlink(), 'Nothing has been evaluated'),
    (lambda folder: shutil.rmtree(folder / '20260101_000000') or (folder / '20260101_000000/vis_data').mkdir(parents=True),
     'Nothing has been logged'),
    (lambda folder: [(folder / '20260101_000000/vis_data/scalars.json').unlink(),
                     (folder / '20260101_000000/vis_data/events.out.tfevents.1').write_bytes(b'nonsense' * 9)], 'Nothing has been logged'),
])
def test_damage_is_said_and_the_rest_is_read(damage, sentence, tmp_path):
    damage(make_run(tmp_path / 'run'))
    run = read_run(tmp_path / 'run')
    assert sum(sentence in note for note in run.notes) == 1, run.notes
    assert run.method == 'DINO'
    assert run.scalars or run.records


def test_a_run_that_still_goes(tmp_path):
    folder = make_run(tmp_path / 'run', steps=(2, 4, 6), validation=False)
    note = json.loads((folder / '20260101_000000/session.json').read_text())
    del note['finished']
    (folder / '20260101_000000/session.json').write_text(json.dumps(note))
    run = read_run(folder)
    assert (run.finished, run.progress) == (False, 1)


def test_folders_that_are_no_runs(tmp_path):
    make_run(tmp_path / 'all/a')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    for name, sentence in (('empty', 'neither a log nor results.jsonl'), ('missing', 'does not exist'), ('file', 'is a file'),
                           ('all', r'give those of its folders that are \(a\)')):
        with pytest.raises(InputError, match=sentence):
            read_runs([tmp_path / name])
    runs, complaints = read_runs([tmp_path / 'empty', tmp_path / 'all/a', tmp_path / 'all/../all/a'])
    assert [run.name for run in runs] == ['a'] and len(complaints) == 1


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    folders = [make_run(tmp_path / name) for name in ('one/x/run', 'two/x/run', 'other')]
    assert [run.name for run in read_runs(folders)[0]] == ['one/x/run', 'two/x/run', 'other']


def test_of_a_picture_the_last_step(tmp_path):
    folder = make_run(tmp_path / 'run')
    for name in ('attention_2', 'attention_10', 'crops_4'):
        path = folder / f'20260101_000000/vis_data/vis_image/{name}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    assert sorted(path.stem for path in read_run(folder).pictures) == ['attention_10', 'crops_4']


@pytest.mark.parametrize('start, end, said', [
    (17., 14., 'k-NN (k = 20) 17.0 -> 14.0; effective rank 19 -> 14. The best checkpoint is that of the weights it started from.'),
    (17., 16., 'k-NN (k = 20) 17.0 -> 16.0; effective rank 19 -> 14. It was best at epoch 1.'), (17., 17.5, None), (None, 14., None)])
def test_a_run_that_ends_below_its_start_is_told_so(tmp_path, start, end, said):
    folder = make_run(tmp_path / 'run')
    middle = 18. if end == 16. else 15.
    lines = [record(method='DINO', epoch=epoch, iteration=4 * epoch, metrics=dict(knn20_top1=value))
             for epoch, value in enumerate((start, middle, end)) if value is not None]
    (folder / 'results.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    scalars, = folder.glob('*/vis_data/scalars.json')
    steps = lines_of(scalars)
    for line, rank in zip([line for line in steps if 'loss' in line], (19, 18, 17, 16, 15, 14)):
        line['effective_rank'] = rank
    scalars.write_text(''.join(json.dumps(line) + '\n' for line in steps))
    found = loss_of_quality(read_run(folder))
    assert found is None if said is None else said in found and 'lower learning rate' in found
