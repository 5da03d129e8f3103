from __future__ import annotations

import json
import logging
import time

import pytest
from toy import Killed, colour_folders, history, knn_config

from mmdssl.engine.hooks import report_hook
from mmdssl.results.runs import read_run

HOOKS = [dict(type='AlgorithmHook'), dict(type='RecordHook'), dict(type='ReportHook')]
LINES = {'visualizer': dict(type='Visualizer', vis_backends=[dict(type='ScalarsVisBackend')])}


def watch(monkeypatch) -> list[str]:
    """What is logged, also by MMEngine's logger, which tells nobody."""
    lines = []
    handle = logging.Logger.handle
    monkeypatch.setattr(logging.Logger, 'handle', lambda self, record: (lines.append(record.getMessage()), handle(self, record))[1])
    return lines


def test_a_run_leaves_its_report_and_says_where(train, tmp_path, monkeypatch):
    lines = watch(monkeypatch)
    runner = train(custom_hooks=HOOKS, **LINES, **knn_config(colour_folders(tmp_path / 'images')), **{'log_processor.window_size': 1})
    page, = (tmp_path / 'run').glob('report.html')
    run = read_run(tmp_path / 'run')
    last = run.records[-1]['metrics']['knn1_top1']
    words, = [line for line in lines if line.startswith('The run is done')]
    assert f'last {last:.1f} (epoch 3)' in words and f'report: {page}' in words
    assert f'<td>{history(runner)[-1]:.4g}</td>' in page.read_text()
    assert run.finished and run.sessions[0]['images'] == 24 and run.sessions[0]['epoch_length'] == 6


def test_scalars_are_lines_of_json_as_mmengines_backend_writes_them(train, tmp_path):
    runner = train(custom_hooks=HOOKS, **LINES, **{'log_processor.window_size': 1})
    theirs = train('theirs', visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
                   **{'log_processor.window_size': 1})
    lines = [json.loads(line) for line in next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert [line['loss'] for line in lines] == pytest.approx(history(runner))
    assert history(runner) == history(theirs)
    assert [(line['epoch'], line['iter'], line['step']) for line in lines] == [(1 + i // 6, i + 1, i + 1) for i in range(18)]
    other = [json.loads(line) for line in next((tmp_path / 'theirs').glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert [line.keys() for line in lines] == [line.keys() for line in other]


def test_a_resumed_run_notes_both_starts_and_has_each_step_once(train, tmp_path):
    whole = train('whole', custom_hooks=HOOKS, **{'log_processor.window_size': 1})
    changes = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=6, by_epoch=False), 'log_processor.window_size': 1}
    with pytest.raises(Killed):
        train(custom_hooks=[*HOOKS, dict(type='KillHook', after=9)], **changes)
    assert read_run(tmp_path / 'run').finished is False
    assert not (tmp_path / 'run/report.html').exists()
    time.sleep(1)  # MMEngine names the folder of a start by the second
    train(custom_hooks=HOOKS, resume=True, **changes)
    run = read_run(tmp_path / 'run')
    assert [session['iteration'] for session in run.sessions] == [0, 6] and run.finished
    assert [line['step'] for line in run.scalars] == list(range(1, 19))
    assert [line['loss'] for line in run.scalars] == pytest.approx(history(whole))


def test_a_report_that_cannot_be_drawn_costs_a_warning(train, tmp_path, monkeypatch):
    lines = watch(monkeypatch)

    def fail(*_):
        raise ZeroDivisionError('of all things')
    monkeypatch.setattr(report_hook, 'write_report', fail)
    train(custom_hooks=HOOKS)
    assert any('could not be written (ZeroDivisionError: of all things)' in line for line in lines)
    assert read_run(tmp_path / 'run').finished
