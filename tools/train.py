"""Train a model from a config, on one process or many; with --dry-run, only say what that would be like."""
from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import is_distributed

import mmdssl  # noqa: F401  registers everything
from mmdssl.engine.config_check import check_config, check_options, explain_unread_keys
from mmdssl.engine.dry_run import dry_run
from mmdssl.errors import InputError
from mmdssl.registry import RUNNERS

SHARED_BY_SOURCES = ('views', 'pipeline')


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    args = parse_args(argv)
    try:
        cfg = load_config(args)
        check_config(cfg)
        with explain_unread_keys(cfg):
            dry_run(cfg) if args.dry_run else train(cfg, args)
    except InputError as error:
        message = str(error).rpartition('InputError: ')[2]  # from a loader's worker it comes with a traceback in front
        print(f'error: {message.strip()}', file=sys.stderr)
        return 2
    if is_distributed():
        gc.collect()  # what holds the group keeps its threads alive, which may abort the process when it ends
        torch.distributed.destroy_process_group()
    return 0


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, for instance configs/pretrain/pqcl.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; work_dirs/<name of the config> by default')
    parser.add_argument('--resume', nargs='?', const='latest', metavar='CKPT',
                        help="continue the run of the work dir, or of a checkpoint; without one, start from scratch")
    parser.add_argument('--amp', choices=['bf16', 'fp16'], help='mixed precision')
    parser.add_argument('--data', metavar='PATH',
                        help='train on the images of a folder, a .txt list of paths or a COCO .json')
    parser.add_argument('--knn', metavar='FOLDER',
                        help='measure k-NN on FOLDER/train and FOLDER/val, with one folder per class')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='change values of the config, for instance optim_wrapper.optimizer.lr=1e-3')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='pytorch' if 'TORCHELASTIC_RUN_ID' in os.environ else 'none',
                        help='what started the processes; torchrun is recognised by itself')
    parser.add_argument('--dry-run', action='store_true',
                        help='build everything, run two steps, print what to expect and leave nothing behind')
    return parser.parse_args(argv)


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line changes."""
    if not Path(args.config).is_file():
        raise InputError(f"config '{args.config}' does not exist: give the path of a config file, such as "
                         'configs/pretrain/pqcl.py')
    try:
        cfg = Config.fromfile(args.config)
    except (OSError, SyntaxError) as error:
        raise InputError(f"config '{args.config}' cannot be read ({type(error).__name__}: {error}): correct it or its "
                         '_base_') from None
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    cfg.launcher = args.launcher
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'latest' else args.resume
    if args.amp:
        cfg.optim_wrapper.type, cfg.optim_wrapper.amp = 'mmdssl.OptimWrapper', args.amp
    if args.data:
        use_images(cfg, args.data)
    if args.knn:
        use_labels(cfg, args.knn)
    elif args.data:  # what the config says of k-NN belongs to its own images
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    check_options(cfg, args.cfg_options)
    cfg.merge_from_dict(args.cfg_options)
    return cfg


def train(cfg: Config, args: argparse.Namespace) -> None:
    runner = RUNNERS.build(cfg)
    if args.data and not args.knn:
        runner.logger.info('k-NN is off: give --knn FOLDER to measure the features while training')
    runner.train()


def use_images(cfg: Config, path: str) -> None:
    """Train on other images, in the same views."""
    if not Path(path).exists():
        raise InputError(f"--data '{path}' does not exist: give a folder of images, a .txt list of paths or a COCO "
                         '.json')
    if Path(path).is_dir():
        source = dict(type='mmdssl.ImageFolder', data_root=path)
    elif path.endswith('.json'):
        source = dict(type='mmdssl.CocoImages', ann_file=path, data_prefix=dict(img=str(coco_folder(Path(path)))))
    else:
        source = dict(type='mmdssl.ImageList', ann_file=path)
    old = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(source, **{key: old[key] for key in SHARED_BY_SOURCES if key in old})


def coco_folder(ann_file: Path) -> Path:
    """The folder of the images of ``annotations/instances_train2017.json``: ``train2017`` beside it, as COCO has it."""
    try:
        first = json.loads(ann_file.read_text())['images'][0]['file_name']
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"--data '{ann_file}' is not a COCO json ({type(error).__name__}: {error}): it needs images "
                         'with a file_name each') from None
    root = ann_file.absolute().parent.parent
    folders = [root / ann_file.stem.split('_', 1)[-1], root / 'images', root, ann_file.parent / 'images',
               ann_file.parent]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    raise InputError(f"{first}, the first image of '{ann_file}', is in none of {', '.join(map(str, folders))}: set the "
                     'folder with --cfg-options train_dataloader.dataset.data_prefix.img=FOLDER')


def use_labels(cfg: Config, folder: str) -> None:
    """Validate by k-NN on other labelled images."""
    if not cfg.get('val_cfg') or 'bank' not in cfg.val_cfg:
        raise InputError(f'--knn has nothing to change: {cfg.filename} has no val_cfg of type KNNLoop')
    for part in ('train', 'val'):
        if not Path(folder, part).is_dir():
            raise InputError(f"--knn '{folder}' has no folder '{part}': it needs train/ and val/ with one folder per "
                             'class')
    cfg.val_dataloader.dataset.data_root = str(Path(folder, 'val'))
    cfg.val_cfg.bank.dataset.data_root = str(Path(folder, 'train'))


if __name__ == '__main__':
    sys.exit(main())
