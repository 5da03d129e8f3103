"""Runs of tiny algorithms by the real runner, on a few images that are drawn here; which are stopped in the middle of an epoch."""
from __future__ import annotations

import gc
from itertools import count
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from PIL import Image

from mmdssl.engine import Runner

IMAGES, BATCH, EPOCHS = 12, 4, 2  # a batch of all processes together
STOPPED = 4  # after so many of the six iterations: one of three of the second epoch
NAMES = count()


def draw_images(root: Path) -> Path:
    """Two class folders of images of 40 x 32 px, and beside them masks of their bright places."""
    for i in range(IMAGES):
        folder = root / 'ab'[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8))
        image = coarse.resize((40, 32), Image.Resampling.BICUBIC)
        image.save(folder / f'{i}.png')
        masks = root.with_name(f'{root.name}_saliency') / folder.name
        masks.mkdir(parents=True, exist_ok=True)
        image.convert('L').save(masks / f'{i}.png.png')
    return root


def recipe(masked: str | None = None, local: bool = True, query: tuple[int, int] | None = None, families: int = 0,
           swap: bool = False) -> dict:
    """The views of a data set, global ones of 32 px, in patches of 8 px where they are masked."""
    crop = dict(type='CropViews', size=32, scale=(0.25, 1.), num=2, photometric=dict(blur_prob=0.5))
    if families:
        crop = dict(type='LeaveOneOutViews', size=32, scale=(0.25, 1.), families={str(i): dict(gray_prob=0.5) for i in range(families)})
    if masked:
        crop['mask'] = dict(type=masked, patch_size=8, ratio=0.5, **(dict(leave=True) if masked == 'RandomMask' else {}))
    if swap:
        crop['before'] = dict(type='SwapBackground', prob=0.5, kinds=('gray', 'image', 'texture'))
    views = dict(global_=crop)
    if local:
        views['local'] = dict(crop, size=16, mask=None)
    if query:
        views['query'] = dict(type='CropViews', num=query[0], size=query[1], scale=(0.05, 0.25), flip=0.)
    return views


def run(model: dict, views: dict, data: Path, work_dir: Path, resumed: Path | None = None, **changes) -> Runner:
    """Train to the end, from the beginning or from a checkpoint, with ``changes`` of the config; on the processes there are."""
    _, world = get_dist_info()
    pipeline = [dict(type='mmdssl.LoadSaliency')] if 'before' in views['global_'] else []
    cfg = Config(dict(
        default_scope='mmdssl', model=model, work_dir=str(work_dir), experiment_name=f'method{next(NAMES)}', log_level='ERROR',
        train_dataloader=dict(batch_size=BATCH // world, drop_last=True, sampler=dict(type='EpochSampler'),
                              collate_fn=dict(type='mmdssl.collate_views'),
                              dataset=dict(type='ImageFolder', data_root=str(data), views=views, pipeline=pipeline)),
        train_cfg=dict(type='TrainLoop', max_epochs=EPOCHS),
        optim_wrapper=dict(type='OptimWrapper', constructor='OptimWrapperConstructor', clip_per_tensor=3.,
                           optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04)),
        param_scheduler=[dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1),
                           checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=STOPPED)),
        custom_hooks=[dict(type='AlgorithmHook')], log_processor=dict(type='LogProcessor'), randomness=dict(seed=0), visualizer=None,
        resume=resumed is not None, load_from=resumed and str(resumed), launcher='pytorch' if world > 1 else 'none', sync_bn='torch'))
    cfg.merge_from_dict(changes)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def values_of(runner: Runner) -> dict[str, list[float]]:
    """Every loss and what is logged with it, by iteration."""
    scalars = {name.removeprefix('train/'): scalar.data[0].tolist() for name, scalar in runner.message_hub.log_scalars.items()}
    return {name: values for name, values in scalars.items() if not any(part in name for part in ('time', 'second', 'memory', 'data_wait'))}


def check_resumed(whole: Runner, resumed: Runner) -> None:
    """The one that went on in the middle of an epoch has the losses and the weights of the other, bit by bit."""
    ours, theirs = values_of(resumed), values_of(whole)
    assert ours == theirs and len(theirs['loss']) == IMAGES // BATCH * EPOCHS == len(set(theirs['loss']))
    ours, theirs = (runner.model.state_dict() for runner in (resumed, whole))
    assert list(ours) == list(theirs)
    assert not [name for name, value in theirs.items() if not torch.equal(ours[name], value)]


def run_as_rank(folder: Path, data: Path, cases: dict[str, tuple[dict, dict]]) -> None:
    """Compare a run that was stopped with one that was not; checkpoints have the batch norms and the log of the first process."""
    torch.distributed.init_process_group('gloo')
    for name, case in cases.items():
        whole = run(*case, data, folder / name / 'whole')
        resumed = run(*case, data, folder / name / 'resumed', folder / name / f'whole/iter_{STOPPED}.pth')
        if whole.rank == 0:
            check_resumed(whole, resumed)
    del whole, resumed
    gc.collect()
    torch.distributed.destroy_process_group()
