"""What differs on a GPU, against the CPU or fp32: ``tools/analysis/gpu_report.sh`` runs these tests."""
from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from processes import free_port
from timm.models.vision_transformer import Block
from torch import nn
from torch.utils.data import DataLoader

from mmdssl.datasets import ImageFolder, Views, preprocessor
from mmdssl.engine.optim_wrapper import OptimWrapper, autocast
from mmdssl.registry import DATASETS, MODELS
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path) -> Path:
    """Eight images in two classes."""
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / 'images' / str(i % 2) / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60), Image.Resampling.BICUBIC).save(path)
    return tmp_path / 'images'


@pytest.fixture
def make_step(images):
    """Function that gives a method of ``configs/small`` and a batch for it, on the CPU; what it draws in a step is the same each time."""

    def make(method: str):
        cfg = Config.fromfile(ROOT / f'configs/small/{method}.py')
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'type': 'mmdssl.ImageFolder', 'data_root': str(images)})
        torch.manual_seed(0)
        algorithm = MODELS.build({**cfg.model, 'backbone': {**cfg.model.backbone, 'drop_path_rate': 0.}})
        return algorithm.train(), Views.collate([dataset[0, 0, index] for index in range(4)])
    return make


def step(algorithm, views, device, amp=None, seed=0):
    """Loss, and gradients by name, on the CPU."""
    torch.manual_seed(seed)
    with autocast(device, amp):
        loss, _ = algorithm.parse_losses(algorithm(algorithm.data_preprocessor(views, True)['views']))
    loss.backward()
    return loss.item(), {name: p.grad.float().cpu() for name, p in algorithm.named_parameters() if p.grad is not None}


def differ(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Of all gradients, relative to their size."""
    assert found.keys() == wanted.keys()
    error = sum((found[name] - wanted[name]).square().sum() for name in wanted)
    size = sum(gradient.square().sum() for gradient in wanted.values())
    return (error / size).sqrt().item()


@pytest.mark.parametrize('method', ['dino', 'ibot', 'pqcl', 'bam'])
def test_a_step_is_that_of_the_cpu(device, make_step, method):
    algorithm, views = make_step(method)
    loss, gradients = step(copy.deepcopy(algorithm), views, torch.device('cpu'))
    there, found = step(algorithm.to(device), views, device)
    assert there == pytest.approx(loss, rel=1e-3) and differ(found, gradients) < 0.02
    low, found = step(make_step(method)[0].to(device), views, device, amp='bf16')
    assert low == pytest.approx(loss, rel=0.02) and differ(found, gradients) < 0.2


def test_compiled_blocks_step_as_others_do(device, make_step):
    algorithm, views = make_step('pqcl')
    compiled = copy.deepcopy(algorithm).to(device)
    blocks = [module for module in compiled.modules() if isinstance(module, Block)]
    for block in blocks:
        block.compile(backend='inductor' if device.type == 'cuda' else 'eager')
    loss, gradients = step(algorithm.to(device), views, device)
    there, found = step(compiled, views, device)
    assert blocks and there == pytest.approx(loss, rel=1e-3) and differ(found, gradients) < 0.02


def test_fp16_skips_what_overflows_and_steps_as_fp32_does(gpu):
    weights = []
    for amp in (None, 'fp16'):
        torch.manual_seed(0)
        model, inputs = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 1)).to(gpu), torch.randn(32, 16, device=gpu)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_per_tensor=1., amp=amp)

        def update():
            with wrapper.optim_context(model):
                loss = model(inputs).float().square().mean()
            wrapper.update_params(loss)

        if amp:
            before, wrapper.scaler = copy.deepcopy(model.state_dict()), torch.amp.GradScaler('cuda', init_scale=2.**40)
            update()
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
            assert wrapper.state_dict()['loss_scaler']['scale'] == 2.**39
            wrapper.scaler = torch.amp.GradScaler('cuda', init_scale=2.**10)
        for _ in range(5):
            update()
        weights.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    torch.testing.assert_close(*weights, rtol=0.01, atol=1e-3)


def test_views_come_in_pinned_memory_and_move_as_a_whole(gpu, make_step, images):
    algorithm, _ = make_step('pqcl')
    dataset = DATASETS.build({**Config.fromfile(ROOT / 'configs/small/pqcl.py').train_dataloader.dataset, 'type': 'mmdssl.ImageFolder',
                              'data_root': str(images)})
    plain, pinned = (next(iter(DataLoader([dataset[0, 0, i] for i in range(4)], 4, collate_fn=Views.collate, pin_memory=pin)))
                     for pin in (False, True))
    for name, group in pinned.items():
        assert group.images.is_pinned() and group.boxes.is_pinned() and not plain[name].images.is_pinned()
    moved = algorithm.to(gpu).data_preprocessor(pinned, True)['views']
    torch.cuda.synchronize()
    here = algorithm.cpu().data_preprocessor(plain, True)['views']
    for name, group in moved.items():
        assert group.images.is_cuda and group.boxes.is_cuda and group.flips.is_cuda
        torch.testing.assert_close(group.images.cpu(), here[name].images)


def test_colours_are_changed_on_the_device_as_on_the_cpu(device, images):
    photometric = [dict(blur_prob=1.0), dict(blur_prob=0.1, solarize_prob=0.5)]
    dataset = ImageFolder(str(images), views=dict(global_=dict(size=48, scale=(0.25, 1.), photometric=photometric)), backend='fast',
                          photometric_device=True)
    views = Views.collate([dataset[0, draw, index] for draw in range(4) for index in range(8)])
    here, there = (preprocessor.adjusted(views, place)['global'].images.cpu().int() for place in ('cpu', device))
    changed = (here - views['global'].images.int()).abs().float().mean()
    apart = (here - there).abs()
    assert changed > 5
    assert (apart > 1).float().mean() < 2e-3  # solarisation and hue have jumps, which rounding crosses
    assert apart.float().mean() < 0.05


def test_one_process_trains_with_others_in_mind_as_alone(device, images, tmp_path):
    """With nccl, and without a process group."""
    losses = []
    for launcher in ('none', 'pytorch'):
        work_dir = tmp_path / launcher
        command = [sys.executable, ROOT / 'tools/train.py', ROOT / 'configs/small/pqcl.py', '--data', images, '--work-dir', work_dir,
                   '--launcher', launcher, '--cfg-options', 'train_cfg.max_epochs=2', 'train_dataloader.batch_size=4',
                   'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'default_hooks.logger.interval=1']
        environment = dict(os.environ, RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()),
                           PYTHONPATH=str(ROOT), **({'CUDA_VISIBLE_DEVICES': ''} if device.type == 'cpu' else {}))
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        file, = work_dir.glob('**/scalars.json*')
        losses.append([record['loss'] for record in read_records(file) if 'loss' in record])
    assert len(losses[0]) == 4 and losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_synchronised_norms_of_one_process_are_plain_ones(gpu):
    torch.distributed.init_process_group('nccl', init_method=f'tcp://127.0.0.1:{free_port()}', rank=0, world_size=1)
    try:
        plain = nn.BatchNorm2d(4).to(gpu)
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
        inputs = torch.randn(8, 4, 5, 5, device=gpu)
        for module in (plain, synchronised):
            module(inputs).square().mean().backward()
        torch.testing.assert_close(synchronised.running_var, plain.running_var)
        torch.testing.assert_close(synchronised.weight.grad, plain.weight.grad)
    finally:
        torch.distributed.destroy_process_group()
