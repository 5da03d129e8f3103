"""What is left for people at the end of a run."""
from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmdssl.checkpoint.files import whole_file
from mmdssl.engine.faults import explain_fault
from mmdssl.home import command, started
from mmdssl.registry import HOOKS
from mmdssl.results.report import write_report
from mmdssl.results.runs import SESSION, Run, read_run
from mmdssl.results.summary import best_and_last, loss_of_quality, moment, readable
from mmdssl.results.tables import number


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes the report of a training at its end, ``work_dir/report.html`` and ``report.md``, and says what there is and comes next.

    What only the start of a run knows, such as its command, is noted for the report beside the log, in ``session.json``. A report
    that cannot be written costs a warning.
    """
    priority = 'LOWEST'  # the results of the others are there

    def __init__(self):
        self._session: dict | None = None

    @master_only
    def before_train(self, runner: Runner) -> None:
        loader, by_epoch = runner.train_dataloader, isinstance(runner.train_loop, EpochBasedTrainLoop)
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        self._session = dict(
            command=own_command(runner.world_size),
            started=_now(),
            iteration=runner.iter,
            epoch_length=len(loader) if by_epoch else None,
            images=len(loader.dataset),
            batch_size=loader.batch_sampler.batch_size * runner.world_size * accumulated,
            processes=runner.world_size,
            device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')
        self._note(runner)

    @master_only
    def after_train(self, runner: Runner) -> None:
        self._session['finished'] = _now()
        self._note(runner)

    @master_only
    def after_run(self, runner: Runner) -> None:
        if self._session is None or 'finished' not in self._session:
            return
        folder = Path(runner.work_dir)
        try:
            report = write_report([folder]).page
        except Exception as error:  # the run is done, and a picture of it is no reason to call it failed
            reason = explain_fault(error) or f'{type(error).__name__}: {error}'
            runner.logger.warning(f'The report could not be written ({reason}): `{command("report", folder)}` tries again.')
            report = None
        run = read_run(folder)
        runner.logger.info('\n'.join(['The run is done.', *closing_words(run, report)]))
        if warning := loss_of_quality(run):
            runner.logger.warning(warning)

    def _note(self, runner: Runner) -> None:
        path = Path(runner.log_dir, SESSION)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(self._session))


def closing_words(run: Run, report: Path | None) -> list[str]:
    """Best and last result, where backbone and report are, and the next command; a line each."""
    words = []
    found = best_and_last(run)
    if found:
        name, best, last = found
        best, last = (f'{number(name, record["metrics"][name])} ({moment(record)})' for record in (best, last))
        words.append(f'{readable(name)}: best {best}, last {last}')
    if run.backbone_file:
        words.append(f'backbone: {run.backbone_file}')
    if report:
        words.append(f'report: {report}')
    if run.backbone_file:
        words.append(f'next: {command("benchmark", run.backbone_file)}')
    return [f'  {line}' for line in words]


def own_command(processes: int) -> str:
    """The command that started this process, as far as it can be told from within."""
    by_torchrun = 'TORCHELASTIC_RUN_ID' in os.environ and os.environ.get('GROUP_WORLD_SIZE', '1') == '1'
    return shlex.join([*started(processes if by_torchrun else 0), *sys.argv[1:]])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')
