"""What commands that run a config share: their arguments, and reading the config."""
from __future__ import annotations

import argparse
import io
import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mmdssl import __version__
from mmdssl.errors import InputError
from mmdssl.home import find_config

if TYPE_CHECKING:
    from mmengine.config import Config

EXTRAS = dict(mmdet='detection', mmseg='segmentation')  # what pretraining does without


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a tool that runs a config."""
    parser.add_argument('--work-dir', help='folder for logs and results; work_dirs/<name of the config> by default')
    add_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none',
                        help='what started the processes; torchrun is recognised by itself')


class Options(argparse.Action):
    """MMEngine's ``DictAction``, which says what is wrong with an option that it cannot read."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list[str],
                 option_string: str | None = None) -> None:
        from mmengine.config import DictAction
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except (ValueError, AssertionError, RecursionError):
            parser.error(f'{option_string} {" ".join(values)} is not KEY=VALUE with balanced brackets: write for instance '
                         'train_cfg.max_epochs=100')


def add_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='with --data: names of the classes of objects or of masks (of ids from 0 on; void first where 0 does not '
                        'count), or a text file with one on each line')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=Options, default={}, metavar='KEY=VALUE',
                        help='change values of the config, for instance optim_wrapper.optimizer.lr=1e-3')


def read_config(args: argparse.Namespace, change: Callable[[Config], list[str] | None] = lambda cfg: None) -> Config:
    """The config ``args.config`` with ``change`` and, after it, the options of the command line applied.

    ``args.notes`` is then what ``change`` returns and the options bring about, in words.

    Raises:
        InputError: The file is missing or cannot be read, or an option names what the config has not.
    """
    for option in ('work_dir', 'data', 'knn', 'dense', 'pretrained', 'resume'):
        if getattr(args, option, None) == '':
            raise InputError(f'--{option.replace("_", "-")} is empty: give a path, or leave it out')
    with suppress(OSError):  # a console that is gone or full is no reason not to train
        if _is_first_process():
            print(f'{args.config}, by mmdssl {__version__}: starting takes some seconds ...', flush=True)
    from mmengine.config import Config

    from mmdssl.engine.config_check import check_options
    from mmdssl.engine.own_data import name_folders
    from mmdssl.engine.run_length import fit_schedules, run_length
    file = find_config(args.config)
    if file is None:
        raise InputError(f"config '{args.config}' does not exist: give the path of a config file, such as "
                         'configs/pretrain/pqcl.py')
    try:
        cfg = Config.fromfile(file)
    except Exception as error:  # a config is a program
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        for package, extra in EXTRAS.items():
            if f'{package} is not installed' in reason:
                raise InputError(f"config '{args.config}' needs {package}, which is not installed: pip install 'mmdssl[{extra}]'") from None
        raise InputError(f"config '{args.config}' cannot be read ({reason}): correct it or its _base_") from None
    if not cfg._cfg_dict:
        raise InputError(f"config '{args.config}' is empty: give the config of a whole run, such as configs/pretrain/pqcl.py")
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    place = next(place for place in [Path(cfg.work_dir), *Path(cfg.work_dir).absolute().parents] if place.exists())
    if not place.is_dir():
        raise InputError(f"the work dir '{cfg.work_dir}' cannot be made, '{place}' is a file: give another --work-dir")
    cfg.launcher = args.launcher
    _import_quietly(cfg.get('default_scope', 'mmdssl'))
    name_folders(cfg, args.cfg_options)
    args.notes = change(cfg) or []
    check_options(cfg, args.cfg_options)
    length = run_length(cfg)
    cfg.merge_from_dict(args.cfg_options)
    args.notes += filter(None, [fit_schedules(cfg, length, args.cfg_options)])
    return cfg


def _import_quietly(scope: str) -> None:
    """Import mmdet or mmseg without what they print about optional packages, and silence their standing warnings.

    What pycocotools prints of its tables, again and again, is of no use beside the log; nor is, from each process, that a config has more
    workers than the machine has cores: the log says whether steps wait for data.
    """
    warnings.filterwarnings('ignore', 'This DataLoader will create', UserWarning)
    warnings.filterwarnings('ignore', module=r'(mmcv|mmdet|mmseg|pycocotools)\b')
    if scope in ('mmdet', 'mmseg'):
        with redirect_stdout(io.StringIO()):
            import_module(f'{scope}.datasets')
            import_module(f'{scope}.evaluation')
    if scope == 'mmdet':
        for name in ('coco', 'cocoeval'):
            import_module(f'pycocotools.{name}').print = lambda *_, **__: None


def _is_first_process() -> bool:
    return all(os.environ.get(variable, '0') == '0' for variable in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
