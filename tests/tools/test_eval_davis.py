from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_files import write_davis2016
from PIL import Image

from mmdssl.datasets import DAVIS
from mmdssl.protocols import DAVISMetric

TOOL = Path(__file__).parents[2] / 'tools/eval_davis.py'


@pytest.fixture
def main(load_tool):
    return load_tool('eval_davis').main


@pytest.fixture
def predictions(davis_root, tmp_path) -> Path:
    """Annotations, each of them moved by 4 px."""
    for path in (davis_root / 'Annotations/480p').glob('*/*.png'):
        target = tmp_path / 'predictions' / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(np.array(Image.open(path)), 4, 1)).save(target)
    return tmp_path / 'predictions'


def test_prints_what_the_metric_prints(main, predictions, davis_root, capsys):
    metric, dataset = DAVISMetric(), DAVIS(str(davis_root))
    for i in range(len(dataset)):
        sequence = dataset.get_data_info(i)
        masks = np.stack([np.array(Image.open(predictions / sequence['name'] / Path(path).name))
                          for path in sequence['mask_paths']])
        metric.process([sequence], [dict(masks={'': masks}, seconds=0.)])
    metrics = metric.evaluate(len(dataset))
    inside = capsys.readouterr().out
    assert main([str(predictions), str(davis_root)]) == 0
    outside = capsys.readouterr().out
    rows = [line for line in outside.splitlines() if 'val-' in line or 'all objects' in line]
    assert rows == [line for line in inside.splitlines() if 'val-' in line or 'all objects' in line] and len(rows) == 11
    assert f'{metrics["J&F"]:.1f}' in rows[-1]


def test_files_have_every_digit_and_a_line_for_each_object(main, predictions, davis_root, tmp_path):
    json_file, csv_file = tmp_path / 'scores.json', tmp_path / 'scores.csv'
    assert main([str(predictions), str(davis_root), '--json', str(json_file), '--csv', str(csv_file)]) == 0
    found = json.loads(json_file.read_text())
    with open(csv_file, newline='') as file:
        lines = {line.pop('object'): {name: float(value) for name, value in line.items()} for line in csv.DictReader(file)}
    assert lines == found
    objects = [row for name, row in found.items() if name.startswith('val-')]
    assert len(objects) == 10
    for name, value in found['all objects'].items():
        assert value == pytest.approx(np.mean([row[name] for row in objects]), abs=1e-12)
    assert any(value != round(value, 4) for value in found['all objects'].values())


def test_first_and_last_frame_are_not_needed(main, predictions, davis_root, capsys):
    main([str(predictions), str(davis_root)])
    complete = capsys.readouterr().out
    for name in ('00000.png', '00005.png'):
        (predictions / 'val-01' / name).unlink()
    assert main([str(predictions), str(davis_root)]) == 0
    assert capsys.readouterr().out == complete


def save(ids, path):
    Image.fromarray(ids).save(path)


@pytest.mark.parametrize('damage, message', [
    (lambda folder: shutil.rmtree(folder / 'val-01'), "val-01': PREDICTIONS needs one for every sequence"),
    (lambda folder: (folder / 'val-01/00003.png').unlink(), "val-01' lacks the masks of 1 frames, first 00003.png"),
    (lambda folder: save(np.zeros((56, 96), np.uint8), folder / 'val-01/00002.png'), "'val-01', frame 2: .* (56, 96)"),
    (lambda folder: save(np.full((112, 192), 7, np.uint8), folder / 'val-01/00002.png'), 'frame 2: object 7 is'),
    (lambda folder: (folder / 'val-01/00002.png').write_bytes(b''), "00002.png' cannot be read"),
], ids=['sequence', 'frames', 'size', 'objects', 'damaged'])
def test_errors_are_one_sentence(main, predictions, davis_root, capsys, damage, message):
    damage(predictions)
    assert main([str(predictions), str(davis_root)]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and len(error.splitlines()) == 1
    start, _, end = message.partition('.*')
    assert start.strip() in error and end.strip() in error


def test_runs_as_a_command(davis_root):
    command = [sys.executable, str(TOOL), str(davis_root / 'Annotations/480p'), str(davis_root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-3].count('100.0') == 5, done.stderr


def test_a_list_that_is_not_there_is_an_error(main, predictions, davis_root, capsys):
    assert main([str(predictions), str(davis_root), '--split', 'test']) == 2
    assert "ImageSets/2017/test.txt' does not exist" in capsys.readouterr().err


def test_the_lists_of_davis_2016_are_found(main, tmp_path, capsys):
    """In a folder of their own, with masks of 0 and 255."""
    root = write_davis2016(tmp_path / 'davis')
    assert main([str(root / 'Annotations/480p'), str(root), '--binary']) == 0
    assert 'cat_1' in capsys.readouterr().out
    assert main([str(root / 'Annotations/480p'), str(root)]) == 2
    assert '--binary of eval_davis' in capsys.readouterr().err
