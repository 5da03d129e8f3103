"""What the command-line tools share: their arguments, reading a config, errors for people."""
from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_distributed, is_main_process

from mmdssl.engine.config_check import check_options
from mmdssl.engine.faults import causes, explain_fault
from mmdssl.engine.optim_wrapper import NonFiniteLossError
from mmdssl.errors import InputError, Stopped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a tool that runs a config."""
    parser.add_argument('--work-dir', help='folder for logs and results; work_dirs/<name of the config> by default')
    add_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none',
                        help='what started the processes; torchrun is recognised by itself')


class Options(DictAction):
    """MMEngine's, which says what is wrong with an option that it cannot read."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list[str],
                 option_string: str | None = None) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError, RecursionError):
            parser.error(f'{option_string} {" ".join(values)} is not KEY=VALUE with balanced brackets: write for instance '
                         'train_cfg.max_epochs=100')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=Options, default={}, metavar='KEY=VALUE',
                        help='change values of the config, for instance optim_wrapper.optimizer.lr=1e-3')


def read_config(args: argparse.Namespace, change: Callable[[Config], None] = lambda cfg: None) -> Config:
    """The config ``args.config`` with ``change`` and, after it, the options of the command line applied.

    Raises:
        InputError: The file is missing or cannot be read, or an option names what the config has not.
    """
    for option in ('work_dir', 'data', 'knn', 'pretrained', 'resume'):
        if getattr(args, option, None) == '':
            raise InputError(f'--{option.replace("_", "-")} is empty: give a path, or leave it out')
    if not Path(args.config).is_file():
        raise InputError(f"config '{args.config}' does not exist: give the path of a config file, such as "
                         'configs/pretrain/pqcl.py')
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:  # a config is a program
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f"config '{args.config}' cannot be read ({reason}): correct it or its _base_") from None
    if not cfg._cfg_dict:
        raise InputError(f"config '{args.config}' is empty: give the config of a whole run, such as configs/pretrain/pqcl.py")
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    place = next(place for place in [Path(cfg.work_dir), *Path(cfg.work_dir).absolute().parents] if place.exists())
    if not place.is_dir():
        raise InputError(f"the work dir '{cfg.work_dir}' cannot be made, '{place}' is a file: give another --work-dir")
    cfg.launcher = args.launcher
    _import_quietly(cfg.get('default_scope', 'mmdssl'))
    change(cfg)
    check_options(cfg, args.cfg_options)
    cfg.merge_from_dict(args.cfg_options)
    return cfg


def _import_quietly(scope: str) -> None:
    """Import mmdet or mmseg without what they print about optional packages, and silence their standing warnings."""
    warnings.filterwarnings('ignore', module=r'(mmcv|mmdet|mmseg|pycocotools)\b')
    if scope in ('mmdet', 'mmseg'):
        with redirect_stdout(io.StringIO()):
            import_module(f'{scope}.datasets')
            import_module(f'{scope}.evaluation')


def guarded(run: Callable[[], None], continuation: Callable[[], str] = lambda: '') -> int:
    """Run, and say in one line what ended it.

    What went wrong with the machine (:func:`mmdssl.engine.faults.explain_fault`) is a sentence too; errors of which we know
    nothing are ours, and keep their traceback.

    Args:
        run: What to do.
        continuation: Where a run that was stopped, by whatever, stands, and how to go on; in a few words.

    Returns:
        The exit code: 2 after an error that the message on stderr explains; 130 after Ctrl-C; 75 (EX_TEMPFAIL of sysexits.h: try
        again) where a signal stopped a run that has saved, of several processes in the main one only.
    """
    with ExitStack() as until_it_is_said:
        try:
            with _ctrl_c_once(), _sentences_of_threads():
                try:
                    run()
                except BaseException:
                    until_it_is_said.enter_context(_no_news_of_workers())
                    raise
        except (InputError, NonFiniteLossError) as error:
            message = str(error).rpartition('InputError: ')[2]  # from a loader's worker it comes with a traceback in front
            _say(f'error: {message.strip()}')
            return 2
        except Stopped as stop:
            if is_main_process():
                _say(f'stopped: {stop}', continuation())
            return os.EX_TEMPFAIL if is_main_process() else 0
        except BaseException as error:
            if any(isinstance(each, KeyboardInterrupt) for each in causes(error)):
                if is_main_process():
                    _say('stopped by Ctrl-C', continuation())
                return 130
            fault = explain_fault(error)
            if fault is None or isinstance(error, SystemExit):
                raise
            _say(f'error: {fault}', continuation())
            return 2
    if is_distributed():
        gc.collect()  # what holds the group keeps its threads alive, which may abort the process when it ends
        torch.distributed.destroy_process_group()
    return 0


def _say(*parts: str) -> None:
    print('; '.join(filter(None, parts)), file=sys.stderr)


@contextmanager
def _sentences_of_threads() -> Iterator[None]:
    """Threads that write beside the run, such as TensorBoard's, fail by the machine as it does."""

    def report(failed: threading.ExceptHookArgs) -> None:
        fault = failed.exc_value and explain_fault(failed.exc_value)
        _say(f'warning: {fault}') if fault else threading.__excepthook__(failed)
    before, threading.excepthook = threading.excepthook, report
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def _no_news_of_workers() -> Iterator[None]:
    """PyTorch raises an error wherever the process is when a worker ends; while another one is explained, that would be lost."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, 'SIGCHLD'):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@contextmanager
def _ctrl_c_once() -> Iterator[None]:
    """The first Ctrl-C is a KeyboardInterrupt, the second one ends the process however long it takes to clear up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)
