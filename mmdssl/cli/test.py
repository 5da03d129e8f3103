"""Evaluate a backbone, detector or segmentor by a config.

A detector or segmentor from its checkpoint; by a config that trains nothing (of configs/classification, dense, retrieval and video) a
backbone from anywhere.
"""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmdssl.cli.arguments import add_arguments, add_classes, read_config
from mmdssl.cli.guard import guarded
from mmdssl.errors import InputError
from mmdssl.home import command

if TYPE_CHECKING:
    from mmengine.config import Config


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 after an error that the message on stderr explains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, for instance configs/classification/knn.py')
    parser.add_argument('checkpoint', help='what to evaluate')
    add_arguments(parser)
    parser.add_argument('--random', action='store_true',
                        help='the network of the backbone, but with random weights, to compare with')
    parser.add_argument('--data', metavar='ROOT', help='root of the data set, if not that of the config')
    add_classes(parser)
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args, lambda cfg: change(cfg, args))  # first of all, as it says at once that something happens
    from mmdssl.engine.config_check import check_config, explain_refusals
    from mmdssl.registry import RUNNERS
    check_config(cfg)
    with explain_refusals(cfg):
        runner = RUNNERS.build(cfg)
        for note in args.notes:
            runner.logger.info(note)
        runner.test()


def change(cfg: Config, args: argparse.Namespace) -> list[str]:
    """What the arguments of this tool change in the config."""
    from mmdssl.engine.own_data import fit_images, use_data
    from mmdssl.engine.own_weights import use_weights
    if not cfg.get('test_cfg'):
        raise InputError(f'{args.config} has no test_cfg, so there is nothing to evaluate: for the backbone of a pretraining run use '
                         'configs/classification/knn.py or another config of a task')
    trains = cfg.get('train_dataloader') is not None
    if trains and args.checkpoint.endswith('.safetensors'):
        raise InputError(f'{args.config} trains a model on a backbone, and {args.checkpoint} holds weights of a backbone alone: run '
                         f'`{command("train", args.config, "--pretrained", args.checkpoint)}`, which measures at its end')
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    if trains:
        cfg.load_from = args.checkpoint
    else:
        use_weights(cfg, args.checkpoint, load=not args.random)
        if 'bank' in cfg.test_cfg:
            fit_images(cfg)
    if args.classes and not args.data:
        raise InputError('--classes names the classes of own data: give --data ROOT too')
    return use_data(cfg, args.data, classes=args.classes, options=args.cfg_options) if args.data else []
