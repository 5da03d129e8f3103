"""How a command ends: errors for people in one line, and an exit code."""
from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mmdssl.errors import InputError, NonFiniteLossError, Stopped

SHUTDOWN = 3.  # seconds for the other processes: what starts them may kill those that are there when one ends with an error


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
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')  # as stderr does it: names of files need not be UTF-8
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
            if not _is_main_process():
                return 0
            _say(f'stopped: {stop}', continuation())
            time.sleep(SHUTDOWN if _has_others() else 0)
            return os.EX_TEMPFAIL
        except SystemExit:  # perhaps of a handler of signals in the middle of an import, where nothing can be imported
            raise
        except BaseException as error:
            if _is_interrupt(error):
                if _is_main_process():
                    _say('stopped by Ctrl-C', continuation())
                return 130
            from mmdssl.engine.faults import explain_fault
            fault = explain_fault(error)
            if fault is None:
                raise
            _say(f'error: {fault}', continuation())
            return 2
    dist = sys.modules.get('torch.distributed')
    if dist is not None and dist.is_available() and dist.is_initialized():
        gc.collect()  # what holds the group keeps its threads alive, which may abort the process when it ends
        dist.destroy_process_group()
    return 0


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt):
        return True
    from mmdssl.engine.faults import causes
    return any(isinstance(each, KeyboardInterrupt) for each in causes(error))


def _is_main_process() -> bool:
    dist = sys.modules.get('mmengine.dist')  # not there where a command is stopped before it has begun
    return dist is None or dist.is_main_process()


def _has_others() -> bool:
    dist = sys.modules.get('mmengine.dist')
    return dist is not None and dist.get_world_size() > 1


def _say(*parts: str) -> None:
    print('; '.join(filter(None, parts)), file=sys.stderr)


@contextmanager
def _sentences_of_threads() -> Iterator[None]:
    """Threads that write beside the run, such as TensorBoard's, fail by the machine as it does."""

    def report(failed: threading.ExceptHookArgs) -> None:
        from mmdssl.engine.faults import explain_fault
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
