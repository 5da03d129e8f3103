"""The commands, a file for each: what ``mmdssl COMMAND`` and ``tools/*.py`` call.

Nothing that takes time is imported before the arguments are read, so that ``--help`` and mistakes in them are answered at once.
"""
from __future__ import annotations

import argparse
import difflib
import sys
from importlib import import_module

from mmdssl import __version__
from mmdssl.home import CONSOLE

COMMANDS = ('train', 'test', 'benchmark', 'sweep', 'report', 'draw', 'convert', 'eval-davis', 'make-saliency', 'make-sample-world',
            'quickstart')


def main(argv: list[str] | None = None) -> int:
    """The console command; returns the exit code: that of the command, or 2 where none is given or there is no such one."""
    lines = [f'  {name:18}{_load(name).__doc__.strip().splitlines()[0]}' for name in COMMANDS]
    parser = argparse.ArgumentParser(
        CONSOLE.strip(), formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Self-supervised pretraining for dense prediction, on OpenMMLab.\n\ncommands:\n' + '\n'.join(lines),
        epilog='mmdssl COMMAND --help says more.')
    parser.add_argument('--version', action='version', version=f'mmdssl {__version__}')
    parser.add_argument('command', metavar='COMMAND', help='one of the above')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...', help='its arguments')
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(argv)
    if args.command not in COMMANDS:
        close = difflib.get_close_matches(args.command, COMMANDS, n=1)
        meant = f'did you mean {close[0]}?' if close else f'give one of {", ".join(COMMANDS)}'
        print(f"error: there is no command '{args.command}': {meant}", file=sys.stderr)
        return 2
    sys.argv[:] = [CONSOLE + args.command, *args.arguments]  # what usage, records and "to continue" show
    return _load(args.command).main()


def _load(name: str):
    return import_module(f'mmdssl.cli.{name.replace("-", "_")}')
