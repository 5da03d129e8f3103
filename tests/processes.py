"""Processes for tests that need no time to import anything: they are copies (fork) of the one that runs the tests."""
from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
LIMIT = 300.


def load_tool(name: str) -> ModuleType:
    """The module with the code of a command of ``tools/``: the script itself, or the one of ``mmdssl.cli`` that it calls."""
    spec = importlib.util.spec_from_file_location(f'mmdssl_tools_{name}', ROOT / f'tools/{name}.py')
    script = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(script)
    return sys.modules[script.main.__module__]


def run_tool(name: str, *args, processes: int = 1, cwd: str | Path = ROOT) -> str:
    """Run a command of ``tools/``, as torchrun would with several processes; returns what it printed.

    Raises:
        AssertionError: It failed.
    """
    def main() -> int:
        os.chdir(cwd)
        return load_tool(name).main([*map(str, args), *(['--launcher', 'pytorch'] if processes > 1 else [])])
    return run_ranks(main, processes)


def run_ranks(function: Callable, processes: int = 1, *args) -> str:
    """Call a function in several processes that find each other (``RANK``, ``MASTER_PORT``, ...); returns what they printed.

    Raises:
        AssertionError: A process failed, or returned something else than None or 0.
    """
    ranks = start(function, processes, *args)
    codes = [rank.wait() for rank in ranks]
    output = ''.join(rank.output() for rank in ranks)
    assert codes == [0] * processes, output[-8000:]
    return output


def start(function: Callable, processes: int = 1, *args) -> list[Process]:
    """Start what :func:`run_ranks` waits for."""
    port = free_port()
    variables = [dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='') if processes > 1 else {} for rank in range(processes)]
    return [Process(function, args, variable) for variable in variables]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Process:
    """A copy of this process that calls a function, in a process group of its own.

    Attributes:
        pid: Its id.
    """

    def __init__(self, function: Callable, args: tuple = (), environment: dict[str, str] | None = None):
        self._log = os.memfd_create('output')
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._become(function, args, environment or {})

    def _become(self, function: Callable, args: tuple, environment: dict[str, str]) -> None:
        code = 70
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self._log, 1)
            os.dup2(self._log, 2)
            sys.stdout, sys.stderr = (os.fdopen(descriptor, 'w', buffering=1) for descriptor in (1, 2))
            os.environ.update(environment)
            code = function(*args) or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def running(self) -> bool:
        if self._code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if done else None
        return self._code is None

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        deadline = time.monotonic() + LIMIT
        while self.running():
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.005)
        self.send(signal.SIGKILL)  # to the workers of its loaders
        return self._code

    def send(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def output(self) -> str:
        return Path(f'/proc/self/fd/{self._log}').read_text(errors='replace')
