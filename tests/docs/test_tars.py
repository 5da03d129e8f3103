"""The commands of docs/tars.md find the tars that they name."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config
from processes import load_tool

from mmdssl.engine.own_data import use_data

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/tars.md').read_text()
COMMANDS = [line.partition('  #')[0] for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize('command', COMMANDS)
def test_it_is_a_command_that_trains_on_tars(command, tmp_path, monkeypatch):
    words = shlex.split(command)
    args = load_tool('train').parse_args(words[2:])
    cfg = Config.fromfile(ROOT / args.config)
    monkeypatch.chdir(tmp_path)
    Path('shards').mkdir()
    for name in ('00000.tar', '00001.tar'):
        Path('shards', name).touch()
    use_data(cfg, args.data)
    cfg.merge_from_dict(args.cfg_options)
    assert cfg.train_dataloader.dataset.type == 'mmdssl.TarImages' and words[:2] == ['python', 'tools/train.py']
    assert cfg.train_dataloader.sampler.get('shards_together') == (16 if 's3://' in command or args.cfg_options else None)


def test_the_script_is_there():
    assert (ROOT / re.search(r'`python (tools/analysis/\S+)`', PAGE)[1]).is_file()
