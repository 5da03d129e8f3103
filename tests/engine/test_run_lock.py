from __future__ import annotations

import subprocess
import sys

import pytest

from mmdssl.engine.run_lock import hold, release
from mmdssl.errors import InputError

OTHER = """
import fcntl, sys, time
file = open(sys.argv[1], 'a+')
fcntl.lockf(file, fcntl.LOCK_EX)
file.write('process 7 on node3, started 2026-01-02 03:04:05')
file.flush()
print('held', flush=True)
time.sleep(600)
"""


def held_by_another(folder) -> subprocess.Popen:
    folder.mkdir()
    other = subprocess.Popen([sys.executable, '-c', OTHER, str(folder / '.lock')], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b'held\n'
    return other


def test_a_second_run_is_refused_until_the_first_is_killed(train, tmp_path):
    with held_by_another(tmp_path / 'run') as other:
        with pytest.raises(InputError, match="/run' is in use by process 7 on node3, started 2026-01-02 03:04:05: wait for it"):
            train()
        assert [file.name for file in (tmp_path / 'run').iterdir()] == ['.lock']  # nothing of the first run was touched
        other.kill()
    assert train().iter == 18


def test_a_folder_is_free_again_after_the_run_and_within_its_process(train, tmp_path):
    train()
    hold(tmp_path / 'run')
    hold(tmp_path / 'run')
    assert 'started 20' in (tmp_path / 'run/.lock').read_text()
    release(tmp_path / 'run')
    release(tmp_path / 'run')


def test_what_only_tests_needs_no_folder_of_its_own(tmp_path):
    from toy import Runner, toy_config
    with held_by_another(tmp_path / 'run') as other:
        cfg = toy_config(tmp_path / 'run')
        cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
        Runner.from_cfg(cfg)
        other.kill()
