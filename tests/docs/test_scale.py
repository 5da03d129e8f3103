"""The commands of docs/scale.md; its figures are those of tests/tools/test_scale.py."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/scale.md').read_text()


@pytest.mark.parametrize('command', [line.partition('  #')[0] for block in re.findall(r'```bash\n(.*?)```', PAGE, re.S)
                                     for line in block.splitlines()])
def test_commands_of_the_page_are_what_the_tools_take(command, monkeypatch):
    from mmdssl.cli import train
    program, script, *arguments = shlex.split(command)
    assert (ROOT / script).is_file() and all((ROOT / word).exists() for word in arguments if word.startswith('configs/'))
    if 'train' in script:
        arguments = arguments[:1] + arguments[2:] if script.endswith('.sh') else arguments
        args = train.parse_args(arguments)
        cfg = Config(dict(train_cfg=dict()))
        train.change(cfg, args)
        assert program in ('bash', 'python') and cfg.get('shard') == args.shard
