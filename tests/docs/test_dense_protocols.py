"""What docs/dense_protocols.md names is there, and all that is there is named."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config
from processes import load_tool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/dense_protocols.md').read_text()
CONFIGS = sorted(path for kind in ('dense', 'video') for path in (ROOT / 'configs' / kind).glob('*.py'))
COMMANDS = [line.partition('  #')[0] for block in re.findall(r'```bash\n(.*?)```', PAGE, re.S) for line in block.splitlines()]


def named() -> set[str]:
    """What stands between backticks in a column of configs, or below a table."""
    tables = [line.split('|') for line in PAGE.splitlines() if line.startswith('|')]
    kinds = re.compile(r'(small_)?[\w-]+_(?:world|camvid|coco|voc07|voc12|ade20k|cityscapes|cocothings|cocostuff|coco20k|nyu)')
    words = set(re.findall(r'`([^`\s]+)`', PAGE))
    cells = {word for cells in tables if len(cells) > 5 for word in re.findall(r'`([^`\s]+)`', cells[2])}
    return {word for word in words if kinds.fullmatch(word)} | cells - {'probe3d', 'image', 'point'}


def test_all_configs_are_named_and_there_are_no_others():
    assert named() == {path.stem for path in CONFIGS}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_it_parses_and_says_of_what_its_numbers_are(path):
    pytest.importorskip('mmseg')
    record = Config.fromfile(path).default_hooks.record
    assert record.task and re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', record.task)
    assert record.dataset and re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', record.dataset)
    assert ('world' in path.stem) == (record.dataset == 'sample-world')
    trained = Config.fromfile(path).get('train_dataloader') is not None
    assert trained == path.stem.removeprefix('small_').startswith(('linear-', 'depth_'))


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_are_what_the_tools_take(command, monkeypatch, capsys):
    """As far as the arguments go; a training is asked of a config that trains."""
    python, path, *arguments = shlex.split(command)
    assert python == 'python' and (ROOT / path).is_file()
    reached = []
    monkeypatch.setattr(f'mmdssl.cli.{Path(path).stem}.guarded', lambda *work: reached.append(work) or 0)
    assert load_tool(Path(path).stem).main(arguments) == 0 and reached
    for config in (ROOT / argument for argument in arguments if argument.startswith('configs/')):
        assert (Config.fromfile(config).get('train_dataloader') is not None) == path.endswith('train.py')
