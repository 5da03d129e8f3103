"""The quickstart, with a smaller world, network and run."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from mmdssl.checkpoint import load_backbone
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
SMALLER = ['model.backbone.arch.embed_dim=48', 'model.backbone.arch.depth=2', 'model.head.num_prototypes=32',
           'train_dataloader.batch_size=8', 'train_dataloader.num_workers=1', 'train_cfg.max_epochs=2']


def test_quickstart_ends_with_a_table_and_a_picture(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/quickstart.py'), '--out', str(tmp_path / 'out'), '--train', '40', '--val', '20']
    done = subprocess.run([*command, '--cfg-options', *SMALLER], cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    records = read_records(tmp_path / 'out/run/results.jsonl')
    assert [record['epoch'] for record in records] == [0, 2]  # before the first step, and at the end
    row = [line for line in done.stdout.splitlines() if '│ knn20_top1' in line][-1]
    assert f'{records[0]["metrics"]["knn20_top1"]:.1f}' in row and f'{records[-1]["metrics"]["knn20_top1"]:.1f}' in row
    assert 'right one of 10 classes' in done.stdout
    assert f'one page, to open in a browser: {tmp_path}/out/run/report.html\n' in done.stdout
    assert (tmp_path / 'out/run/report.html').is_file()
    assert Image.open(tmp_path / 'out/attention.png').size[0] > 100
    assert load_backbone(tmp_path / 'out/run/backbone.safetensors').embed_dim == 48


def test_the_table_agrees_with_itself(load_tool):
    """36.75 and 55.5 are printed as 36.8 and 55.5, whose difference is 18.7."""
    table = load_tool('quickstart').result_table(dict(metrics=dict(knn10_top1=36.75)), dict(metrics=dict(knn10_top1=55.5)))
    assert [[*column.cells] for column in table.columns] == [['knn10_top1'], ['36.8'], ['55.5'], ['+18.7']]
