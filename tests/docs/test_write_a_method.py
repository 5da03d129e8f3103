"""The example of docs/write_a_method.md, as it is printed there."""
from __future__ import annotations

import re
from pathlib import Path

import torch
from processes import run_tool

from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]


def test_the_example_trains_by_its_own_command(tmp_path, small_set, monkeypatch):
    page = (ROOT / 'docs/write_a_method.md').read_text()
    method, config = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    (tmp_path / 'my_methods.py').write_text(method)
    (tmp_path / 'vicreg.py').write_text(config.replace('./configs', str(ROOT / 'configs')))
    monkeypatch.syspath_prepend(str(tmp_path))
    command, = re.findall(r'```bash\nPYTHONPATH=. python tools/train.py (.*?)\n```', page)
    smaller = ['train_dataloader.batch_size=8', 'train_dataloader.num_workers=0', 'train_cfg.max_epochs=2',
               'model.backbone.arch.depth=1', 'val_dataloader.num_workers=0', 'val_cfg.bank.num_workers=0']
    output = run_tool('train', *command.replace('SET', str(small_set)).split(), '--cfg-options', *smaller, cwd=tmp_path)
    assert 'Epoch(train) [2]' in output
    assert [record['method'] for record in read_records(tmp_path / 'work_dirs/vicreg/results.jsonl')] == ['VICReg'] * 2
    state = torch.load(tmp_path / 'work_dirs/vicreg/epoch_2.pth', weights_only=False)['state_dict']
    assert any(name.startswith('student.projector') for name in state)
