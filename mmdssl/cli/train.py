"""Train a model from a config, on one process or many; with --dry-run, only say what that would be like."""
from __future__ import annotations

import argparse
import shlex
import sys
import time
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmdssl.cli.arguments import add_arguments, add_classes, read_config
from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError
from mmdssl.home import command, started

if TYPE_CHECKING:
    from mmengine.config import Config

CLOCKS = 2.  # seconds by which the clock of a file system may differ from the machine's


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: see :func:`mmdssl.cli.guard.guarded`."""
    args, start = parse_args(argv), time.time()
    return guarded(lambda: run(args), lambda: continuation(args, sys.argv[1:] if argv is None else argv, start))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, for instance configs/pretrain/pqcl.py')
    add_arguments(parser)
    parser.add_argument('--amp', choices=['bf16', 'fp16'], help='mixed precision')
    parser.add_argument('--shard', choices=['zero1', 'fsdp'],
                        help='of several processes each keeps a share of the optimizer (zero1), or of the weights too (fsdp); see '
                        'docs/scale.md')
    parser.add_argument('--resume', nargs='?', const='latest', metavar='CKPT',
                        help='continue the run of the work dir, or of a checkpoint; without one, start from scratch')
    parser.add_argument('--pretrained', metavar='CKPT',
                        help='fine-tune this backbone, from mmdssl or anywhere; the config adapts to its size')
    parser.add_argument('--random', action='store_true',
                        help='with --pretrained: the same network, but from random weights, to compare with')
    parser.add_argument('--data', metavar='PATH',
                        help="pretraining: the images of a folder, a .txt list of paths, a COCO .json or tars ('shards/*.tar', their "
                        'folder, s3://...); other tasks: the root of the data set')
    add_classes(parser)
    parser.add_argument('--knn', metavar='FOLDER',
                        help='pretraining: measure k-NN on FOLDER/train and FOLDER/val, with one folder per class')
    parser.add_argument('--dense', metavar='FOLDER',
                        help='pretraining: beside k-NN, measure segmentation by nearest patches on FOLDER/images and FOLDER/annotations, '
                        'with train and val in each')
    parser.add_argument('--dry-run', action='store_true',
                        help='build everything, run some steps, print what to expect and leave nothing behind')
    args, others = parser.parse_known_args(argv)
    if others and not (args.data and all(other.endswith('.tar') for other in others)):
        parser.error(f'unrecognized arguments: {" ".join(others)}')
    if others:  # a pattern without quotes, which the shell wrote out
        args.data = [args.data, *others]
    return args


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args, lambda cfg: change(cfg, args))  # first of all, as it says at once that something happens
    from mmengine.dist import is_main_process

    from mmdssl.engine.config_check import check_config, explain_refusals
    from mmdssl.engine.dry_run import dry_run
    from mmdssl.registry import RUNNERS
    args.work_dir = cfg.work_dir
    check_config(cfg)
    if not cfg.get('train_cfg') or not cfg.get('train_dataloader') or not cfg.get('optim_wrapper'):
        raise InputError(f'{args.config} trains nothing, it lacks train_cfg, train_dataloader or optim_wrapper: evaluate it with '
                         f'`{command("test", args.config)} CHECKPOINT`, or give the config of a training')
    with explain_refusals(cfg):
        if args.dry_run:
            dry_run(cfg)
            if args.notes and is_main_process():
                print(*args.notes, sep='\n')
            return
        runner = RUNNERS.build(cfg)
        for note in args.notes:
            runner.logger.info(note)
        if args.data and not cfg.get('val_cfg'):
            runner.logger.info('k-NN is off: give --knn FOLDER to measure the features while training')
        runner.train()


def continuation(args: argparse.Namespace, arguments: list[str], start: float) -> str:
    """Where a run that was started with ``arguments`` at a time (of ``time.time()``) is to be continued."""
    from mmdssl.checkpoint.files import latest_checkpoint
    if args.dry_run or not args.work_dir:
        return ''
    last = latest_checkpoint(args.work_dir)
    if last is None or not args.resume and last.stat().st_mtime < start - CLOCKS:
        return 'no checkpoint has been saved yet'
    again = 'the same command with --resume'
    if args.launcher == 'none':
        again = shlex.join([*started(), *arguments, *([] if args.resume == 'latest' else ['--resume'])])
    return f'the last checkpoint is {last}, to continue: {again}'


def change(cfg: Config, args: argparse.Namespace) -> list[str]:
    """What the arguments of this tool change in the config."""
    from mmdssl.engine.own_data import use_data, use_labels, use_masks
    from mmdssl.engine.own_weights import use_weights
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'latest' else args.resume
    if args.amp and cfg.get('optim_wrapper'):
        cfg.optim_wrapper.type, cfg.optim_wrapper.amp = 'mmdssl.OptimWrapper', args.amp
    if args.shard:
        cfg.shard = args.shard
    if args.pretrained:
        use_weights(cfg, args.pretrained, load=not args.random)
    notes = []
    if args.data:
        scratch = None
        if args.dry_run:  # which leaves nothing behind
            args.scratch = TemporaryDirectory()
            scratch = args.scratch.name
        notes = use_data(cfg, args.data, args.knn, args.classes, args.cfg_options, scratch)
    elif args.classes:
        raise InputError('--classes names the classes of own data: give --data PATH too')
    if args.knn:
        use_labels(cfg, args.knn)
    if args.dense:
        use_masks(cfg, args.dense)
    return notes
