"""The model zoo says what its entries say, and entries what a run left."""
from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from pathlib import Path

import pytest
from processes import load_tool

from mmdssl.errors import InputError
from mmdssl.results.records import append_record
from mmdssl.results.runs import read_run


@pytest.fixture
def zoo():
    return load_tool('analysis/model_zoo')


@pytest.fixture
def work_dir(tmp_path) -> Path:
    folder = tmp_path / 'dino-s3'
    folder.mkdir()
    (folder / 'dino.py').write_text("model = dict(type='DINO')\ntrain_cfg = dict(max_epochs=2)\nrandomness = dict(seed=3)\n")
    for epoch, accuracy in ((0, 10.), (2, 30.)):
        append_record(folder / 'results.jsonl', task='knn', method='DINO', backbone='vit-s/16', epoch=epoch, iteration=10 * epoch,
                      metrics=dict(knn20_top1=accuracy), checkpoint='c', config='d', dataset='e')
    (folder / 'backbone.safetensors').write_bytes(b'weights')
    return folder


GIVEN = Namespace(data='Images', command='python train.py {config} {seed}', address='https://example.org/zoo/')


def test_committed_pages_say_what_the_entries_say(zoo):
    for path, text in zoo.pages(zoo.read_entries()).items():
        assert path.read_text() == text, f'{path}: run tools/analysis/model_zoo.py'


def test_an_entry_has_hash_command_and_address_of_its_file(zoo, work_dir):
    entry = zoo.make_entry(read_run(work_dir), GIVEN)
    assert entry['sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert entry['command'] == 'python train.py dino 3'
    assert entry['address'] == 'https://example.org/zoo/dino-s3/backbone.safetensors'
    assert entry['before'] == {'knn20_top1': 10.} and entry['after'] == {'knn20_top1': 30.}
    page = zoo.zoo([entry])
    assert '| 10.0 | 30.0 | [file](https://example.org/zoo/dino-s3/backbone.safetensors), ' in page and entry['sha256'] in page


def test_seeds_become_one_row_beside_the_published_one(zoo, work_dir):
    first = zoo.make_entry(read_run(work_dir), GIVEN)
    other = dict(first, after={'knn20_top1': 40.})
    row = zoo.summary([first, other]).splitlines()[-1]
    assert row.startswith('| DINO | 10.0 ± 0.0 | 35.0 ± 7.1 | 2, 2 | 40.8 / 37.3 | vit-s/16, 300 epochs | PQCL, ICML 2023, Table 2 |')


def test_a_run_that_is_not_finished_is_refused(zoo, work_dir):
    lines = (work_dir / 'results.jsonl').read_text().splitlines()
    (work_dir / 'results.jsonl').write_text(lines[0] + '\n')
    with pytest.raises(InputError, match='is no finished pretraining'):
        zoo.make_entry(read_run(work_dir), GIVEN)


def test_a_run_writes_both_pages(zoo, work_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, 'ENTRIES', tmp_path / 'zoo.jsonl')
    written = {}
    monkeypatch.setattr(zoo, 'write_pages', lambda entries: written.update(zoo.pages(entries)))
    assert zoo.main([str(work_dir), '--data', 'Images', '--command', 'train', '--address', 'https://example.org']) == 0
    assert [json.loads(line)['name'] for line in (tmp_path / 'zoo.jsonl').read_text().splitlines()] == ['dino-s3']
    assert {path.name for path in written} == {'model_zoo.md', 'README.md'}
    assert zoo.main([str(tmp_path / 'nothing'), '--data', 'Images']) == 2
