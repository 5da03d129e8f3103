"""Write a page, and Markdown, of what one or several runs trained and what came out."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmdssl.cli.guard import guarded


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: see :func:`mmdssl.cli.guard.guarded`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work dirs, of training, tests and benchmarks')
    parser.add_argument('--out', type=Path, metavar='FILE.html',
                        help='the page, with FILE.md beside it; report.html by default, in the work dir if there is a single one')
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from mmdssl.results.report import write_report
    written = write_report(args.work_dirs, args.out)
    for complaint in written.complaints:
        print(f'left out: {complaint}', file=sys.stderr)
    print(f'{written.page}, and as Markdown {written.markdown}')
