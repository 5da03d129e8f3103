"""What docs/cluster.md and its example say can be typed."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mmdssl.cli import sweep, train

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/cluster.md').read_text()
SWEEPS = re.findall(r'^python tools/sweep.py (.*)$', PAGE, re.MULTILINE)


@pytest.mark.parametrize('arguments', SWEEPS)
def test_sweeps_of_the_page_are_planned(arguments, tmp_path):
    words = []
    for i, word in enumerate(shlex.split(arguments)):
        name, equals, last = word.rpartition('=')
        if word == 'CHECKPOINT':
            last = str(tmp_path / f'{i}.pth')
            Path(last).write_bytes(str(i).encode())
        elif last in ('SET', 'FOLDER'):
            last = str(tmp_path)
        words.append(name + equals + last)
    args = sweep.parse_args([*words, '--work-dir', str(tmp_path / 'sweep')])
    assert len(sweep.plan(args)) == 2 * len(args.configs)
    assert all(command in sweep.plan(args)[0].command for command in ('--data', str(tmp_path)))
    assert args.slurm is None or sweep.parameters(args.slurm)['timeout_min'] == 120


def test_scripts_of_the_page_are_there():
    scripts = re.findall(r'\b(tools/\S+\.(?:sh|py))', PAGE)
    assert SWEEPS and len(scripts) > 4 and all((ROOT / script).is_file() for script in scripts)


def test_the_example_in_a_cloud_resumes_by_itself():
    example = yaml.safe_load((ROOT / 'docs/skypilot.yaml').read_text())
    script, = re.findall(r'^bash (tools/.*)$', example['run'], re.MULTILINE)
    tool, config, number, *rest = shlex.split(script)
    args = train.parse_args([config, *rest])
    assert (ROOT / tool).is_file() and (ROOT / config).is_file() and number == '$SKYPILOT_NUM_GPUS_PER_NODE'
    assert args.resume == 'latest'
    assert {Path(args.data).parent, Path(args.work_dir).parent} == set(map(Path, example['file_mounts']))
