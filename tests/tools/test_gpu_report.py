"""tools/analysis/gpu_report.py on the CPU, and the released propagation that evaluation_speed.py compares with."""
from __future__ import annotations

import json

import pytest
import torch
from processes import load_tool

from mmdssl.protocols.propagation import propagate
from mmdssl.results.records import append_line, read_records


@pytest.fixture
def report(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # which --cpu sets
    return load_tool('analysis/gpu_report')


def test_parts_are_run_once_and_told(report, tmp_path):
    command = ['--cpu', '--out', str(tmp_path), '--only', 'machine', 'step pqcl', 'step mae', 'compiled bam']
    assert report.main(command) == 0
    found = read_records(tmp_path / 'results.jsonl')
    parts = {'machine', 'step pqcl', 'step pqcl_dino', 'step mae', 'compiled bam'}
    assert len(found) == 5 and {record['part'] for record in found} == parts
    step = next(record['result']['ViT-tiny'] for record in found if record['part'] == 'step pqcl')
    assert step['lowest'] <= step['ratio'] <= step['highest'] and step['gflops_per_image'] > 0 and step['mfu'] is None
    page = (tmp_path / 'report.md').read_text()
    assert '| pqcl | ViT-tiny | no | 2 |' in page and '| bam | ViT-tiny | yes | 2 |' in page
    assert json.loads((tmp_path / 'report.json').read_text())['parts'].keys() == parts
    assert report.main(command) == 0 and read_records(tmp_path / 'results.jsonl') == found


def test_what_failed_or_had_no_time_is_run_by_the_next_call(report, tmp_path, monkeypatch):
    answers = dict(machine=ValueError('not\nyet'), tests=dict(tests={'test_one': 'passed'}))

    def answer(name, args):
        if isinstance(answers[name], Exception):
            raise answers[name]
        return answers[name]

    monkeypatch.setattr(report, 'parts', lambda: {name: lambda args, name=name: answer(name, args) for name in answers})
    assert report.main(['--cpu', '--out', str(tmp_path)]) == 1
    page = (tmp_path / 'report.md').read_text()
    assert 'machine (ValueError: not yet)' in page and '- test_one: passed' in page
    append_line(tmp_path / 'results.jsonl', dict(part='machine', cpu=False, result={}))  # of another setting
    answers.update(machine=dict(device='CPU', versions={}), tests=AssertionError('run twice'))
    assert report.main(['--cpu', '--out', str(tmp_path), '--minutes', '0']) == 1
    assert report.main(['--cpu', '--out', str(tmp_path)]) == 0
    assert 'device CPU' in (tmp_path / 'report.md').read_text()


def test_ours_carries_labels_as_the_released_formulation(tmp_path, capsys):
    tool = load_tool('analysis/evaluation_speed')
    features, first = tool.video(15, 26, 10, torch.device('cpu'))
    ours = propagate(features, first, tool.CONTEXT, tool.RADIUS, tool.TOP_K, tool.TEMPERATURE)
    released = tool.released_video(features, first, tool.released_window(15, 26, 'cpu'))
    torch.testing.assert_close(ours, released, rtol=0, atol=1e-5)
    out = tmp_path / 'speed.jsonl'
    assert tool.main(['--patches', '32', '--frames', '3', '--rounds', '2', '--bank', '600', '--queries', '50', '--out', str(out)]) == 0
    propagation, knn = read_records(out)
    assert propagation['lowest'] <= propagation['ratio'] <= propagation['highest'] and propagation['other_labels'] == 0
    assert knn['run'] == 5 and knn['whole_seconds'] == pytest.approx(10 * knn['seconds']) and knn['same'] == knn['compared'] == 5
