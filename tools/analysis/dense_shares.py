"""Where the time of detection and segmentation goes: data, backbone, head. It trains and tests a few images and appends a record.

    python tools/analysis/dense_shares.py [CONFIG ...] --data FOLDER [--images 2] [--steps 2] [--cfg-options ...] [--out FILE]

FOLDER has coco/ or ade20k/, such as those of tools/make_sample_world.py: the recipes resize its images as they do any others, only
decoding is quicker than that of photographs. Images are loaded in this process, so that their time is that of one core. A step of
training is divided into data, forward and backward of the backbone and of all above it (neck, heads, losses), and the update; one of
testing into data, the backbone and what is above it. Seconds are those of this process on its processors (on a GPU those of the clock);
the first step of each is not counted.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader

from mmdssl.cli import train
from mmdssl.cli.arguments import add_options, read_config
from mmdssl.engine import Runner
from mmdssl.engine.unwrap import unwrap
from mmdssl.registry import RUNNERS
from mmdssl.results.records import append_record

CONFIGS = ('configs/detection/mask-rcnn_vit-small_1x_coco.py', 'configs/segmentation/semfpn_vit-small_40k_ade20k.py',
           'configs/segmentation/upernet_vit-small_160k_ade20k.py')
FOLDERS = dict(detection='coco', segmentation='ade20k')
IN_THIS_PROCESS = dict(num_workers=0, persistent_workers=False)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Parts(Counter):
    """Seconds of each part of what runs."""

    @contextmanager
    def add(self, name: str, less: str | None = None) -> Iterator[None]:
        """The time of a block, without what was added to ``less`` meanwhile."""
        start, others = now(), self[less]
        yield
        self[name] += now() - start - (self[less] - others)

    def batches(self, model: torch.nn.Module, loader: DataLoader, steps: int) -> Iterator[dict]:
        """Of one step that is not counted and those that are; adds data, forwards of the backbone, and notes when its backward, which is
        the last of a step, begins."""
        backbone = unwrap(model).backbone
        backbone.register_forward_pre_hook(lambda *_: self.update(backbone=-now()))
        backbone.register_forward_hook(lambda *_: self.update(backbone=now()))
        backbone.register_full_backward_pre_hook(lambda *_: self.update(reached=now()))
        batches = iter(loader)
        for step in range(steps + 1):
            if step == 1:
                self.clear()
            with self.add('data'):
                batch = model.data_preprocessor(next(batches), model.training)
            yield batch


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', metavar='CONFIG', default=CONFIGS, help='Mask R-CNN, Semantic FPN and UperNet by default')
    parser.add_argument('--data', type=Path, required=True, metavar='FOLDER')
    parser.add_argument('--images', type=int, default=2, help='of a step of training; a step of testing has one')
    parser.add_argument('--steps', type=int, default=2)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/dense_shares.jsonl'), help='file of records')
    add_options(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for config in args.configs:
        with TemporaryDirectory() as folder:
            runner = build(config, args, folder)
            for task, spent in (('training', trained(runner, args.steps)), ('testing', tested(runner, args.steps))):
                whole = sum(spent.values())
                parts = [f'{name} {1000 * seconds / args.steps:.0f} ms ({seconds / whole:.1%})' for name, seconds in spent.items()]
                print(f'{Path(config).stem}, {task}, a step: {", ".join(parts)}', flush=True)
                append_record(args.out, task='dense-shares', config=config, of=task, images=args.images if task == 'training' else 1,
                              steps=args.steps, threads=args.threads, seconds=spent)
    return 0


def build(config: str, args: argparse.Namespace, folder: str) -> Runner:
    """A runner of the config on the data, of which nothing stays."""
    root, names = args.data / FOLDERS[Path(config).parent.name], ('train', 'val', 'test')
    wanted = train.parse_args([config, '--work-dir', folder])
    here = {f'{name}_dataloader.{key}': value for name in names for key, value in IN_THIS_PROCESS.items()}
    if root.name == 'coco':
        wanted.data = str(root)
    else:  # masks of other classes do as well
        here |= {f'{name}_dataloader.dataset.data_root': str(root) for name in names}
    wanted.cfg_options = {'train_dataloader.batch_size': args.images, 'log_level': 'ERROR', **here, **args.cfg_options}
    return RUNNERS.build(read_config(wanted, lambda cfg: train.change(cfg, wanted)))


def trained(runner: Runner, steps: int) -> dict[str, float]:
    loader = runner.build_train_loop(runner.cfg.train_cfg).dataloader
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    model, parts = runner.model.train(), Parts()
    for batch in parts.batches(model, loader, steps):
        with parts.add('above', less='backbone'):
            loss, _ = model.parse_losses(model(**batch, mode='loss'))
        start = now()
        loss.backward()
        end = now()
        parts['above'] += parts['reached'] - start
        parts['backbone'] += end - parts['reached']
        del parts['reached']
        with parts.add('update'):
            wrapper.step()
            wrapper.zero_grad()
    return {name: parts[name] for name in ('data', 'backbone', 'above', 'update')}


@torch.no_grad()
def tested(runner: Runner, steps: int) -> dict[str, float]:
    loader, model, parts = runner.build_dataloader(runner.cfg.val_dataloader), runner.model.eval(), Parts()
    for batch in parts.batches(model, loader, steps):
        with parts.add('above', less='backbone'):
            model(**batch, mode='predict')
    return {name: parts[name] for name in ('data', 'backbone', 'above')}


if __name__ == '__main__':
    sys.exit(main())
