"""What the campaigns of this folder share: many cases, each in a process of its own, and one table of how they ended.

A campaign tries what an unfriendly user, a cluster or a bad disk does to a run, and counts the answers. Each case is a copy
(fork) of a process that has imported everything, so that hundreds of them fit into minutes.
"""
from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FINE, REFUSED, KILLED, BAD = ('fine', ), ('sentence', ), ('killed', ), ('SILENT', 'TRACEBACK', 'HANG', 'LOST')


@dataclass(frozen=True)
class Case:
    """One thing to try.

    Attributes:
        name: Of the case, and of its log file.
        run: What its process does; returns the exit code, as the ``main`` of our commands does.
        expected: How it may end: :data:`FINE`, :data:`REFUSED`, :data:`KILLED` (by a signal), or a sum of them where each is right.
        meanwhile: Called with the process id while the process runs, for instance to kill it.
        check: Called after the process has ended; what it returns, if anything, is what was lost.
        limit: Seconds after which the process counts as hanging.
    """
    name: str
    run: Callable[[], int]
    expected: tuple[str, ...] = FINE
    meanwhile: Callable[[int], None] | None = None
    check: Callable[[], str | None] | None = None
    limit: float = 120.


@dataclass(frozen=True)
class Outcome:
    """How a case ended: ``fine``, with a ``sentence``, ``killed``, or as one of :data:`BAD`; what was said, and after how many seconds."""
    name: str
    verdict: str
    said: str
    seconds: float


def run_cases(cases: Iterable[Case], folder: Path) -> list[Outcome]:
    """Run cases one after another; the output of each is left in ``folder/NAME.log``."""
    folder.mkdir(parents=True, exist_ok=True)
    console, outcomes = Console(), []
    for case in cases:
        outcome = run_case(case, folder / f'{case.name}.log')
        outcomes.append(outcome)
        console.print(f'{outcome.verdict:10} {outcome.seconds:6.1f} s  {outcome.name}: {outcome.said}', markup=False,
                      highlight=False, soft_wrap=True)
    return outcomes


def run_case(case: Case, log: Path) -> Outcome:
    start = time.monotonic()
    pid = _start(case.run, log)
    if case.meanwhile:
        case.meanwhile(pid)
    status = _wait(pid, start + case.limit)
    seconds = time.monotonic() - start
    _end_group(pid)
    output = log.read_text(errors='replace').replace('\0', '')
    verdict, said = _judge(status, output, case.expected)
    if verdict not in BAD and case.check and (lost := case.check()):
        verdict, said = 'LOST', lost
    return Outcome(case.name, verdict, said, seconds)


def _start(run: Callable[[], int], log: Path) -> int:
    """A copy of this process in a group of its own, without input, that writes to ``log`` alone."""
    sys.stdout.flush()
    sys.stderr.flush()
    log.write_bytes(b'')
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
        for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, os.open(log, os.O_WRONLY | os.O_APPEND))):
            os.dup2(source, descriptor)
        os.dup2(1, 2)
        code = run() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, deadline: float) -> int | None:
    """Exit code of a process, negative for a signal; None where it does not end in time."""
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    _end_group(pid)
    os.waitpid(pid, 0)
    return None


def _end_group(pid: int) -> None:
    """With the workers of its loaders."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _judge(status: int | None, output: str, expected: tuple[str, ...]) -> tuple[str, str]:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else ''
    if status is None:
        return 'HANG', last
    if 'Traceback (most recent call last)' in output:
        return 'TRACEBACK', last
    sentence = next((line for line in reversed(lines) if line.startswith(('error: ', 'stopped')) or ': error: ' in line), None)
    verdict = 'fine' if status == 0 else 'killed' if status < 0 else 'sentence' if sentence else 'SILENT'
    if verdict == 'fine' and verdict not in expected:
        return 'SILENT', 'accepted'
    if verdict not in expected:
        return verdict if verdict in BAD else 'LOST', sentence or f'exit code {status}: {last}'
    return verdict, sentence if verdict == 'sentence' else verdict


def report(title: str, outcomes: list[Outcome]) -> int:
    """Print how many cases ended in which way, and name the bad ones; returns the exit code, 1 where there are any."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    table = Table(title=f'{title}: {len(outcomes)} cases', title_justify='left')
    for verdict in ('fine', 'sentence', 'killed', *BAD):
        table.add_column(verdict, justify='right')
    table.add_row(*(str(counts[verdict]) for verdict in ('fine', 'sentence', 'killed', *BAD)))
    console = Console()
    console.print(table)
    bad = [outcome for outcome in outcomes if outcome.verdict in BAD]
    for outcome in bad:
        console.print(f'{outcome.verdict} {outcome.name}: {outcome.said}', markup=False, highlight=False, soft_wrap=True)
    return int(bool(bad))
