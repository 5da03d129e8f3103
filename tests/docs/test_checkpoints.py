"""The layouts, the commands and the class of docs/checkpoints.md."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from processes import load_tool

from mmdssl.checkpoint import layouts, read_pretrained

PAGE = (Path(__file__).parents[2] / 'docs/checkpoints.md').read_text()
COMMANDS = re.search(r'```bash\n(.*?)```', PAGE, re.S)[1].splitlines()


def test_all_layouts_are_named_and_there_are_no_others():
    cells = [line.split('|')[1] for line in PAGE.splitlines() if line.startswith('| `')]
    assert {name for cell in cells for name in re.findall('`(.*?)`', cell)} == {layout.name for layout in layouts.LAYOUTS}


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_are_what_the_tool_takes(command, monkeypatch):
    reached = []
    monkeypatch.setattr('mmdssl.cli.convert.guarded', lambda *work: reached.append(work) or 0)
    assert load_tool('convert_checkpoint').main(shlex.split(command)[2:]) == 0 and reached


def test_a_layout_of_ones_own_is_read(monkeypatch, tmp_path):
    names = {}
    exec(re.search(r'```python\n(.*?)```', PAGE, re.S)[1], names)
    monkeypatch.setattr(layouts, 'LAYOUTS', (names['Theirs'](), *layouts.LAYOUTS))
    weights = {'patch_embed.proj.weight': torch.ones(64, 3, 4, 4), 'summary_token': torch.ones(1, 1, 64), 'pos_embed': torch.ones(1, 5, 64),
               'blocks.0.mlp.fc1.weight': torch.ones(256, 64)}
    torch.save(weights, tmp_path / 'theirs.pth')
    read = read_pretrained(tmp_path / 'theirs.pth')
    assert (read.layout, read.config['position_rule']) == ('theirs', 'antialias') and 'cls_token' in read.state
