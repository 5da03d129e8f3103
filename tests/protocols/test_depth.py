"""Depth of frozen patches: bins, loss and metrics in float64, the published schedule, known answers, and runs from the command line."""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from PIL import Image
from processes import run_tool
from torch import nn

from mmdssl.engine.config_check import check_config
from mmdssl.errors import InputError
from mmdssl.protocols import DepthMetric, DepthProbe
from mmdssl.protocols.depth import depth_of_bins, sig_loss
from mmdssl.results.records import read_records
from mmdssl.schedules import Progress

CONFIG = """
_base_ = '{root}/configs/dense/small_depth_world.py'
model = dict(dropout=0.0)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(
    augmentation=dict(size=(32, 40), prob=0.0, flip=0.0)))
val_dataloader = test_dataloader = dict(num_workers=0)
train_cfg = dict(max_iters=6, val_interval=6)
param_scheduler = []
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0))
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=2), logger=dict(interval=1))
visualizer = None
"""


def test_depth_is_the_mean_of_the_bins():
    scores, bins = torch.randn(2, 5, 3, 4), torch.linspace(0.001, 10, 5)
    found = depth_of_bins(scores, bins)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                weights = [max(float(score), 0.) + 0.1 for score in scores[b, :, y, x].double()]
                wanted = sum(weight / sum(weights) * (0.001 + 9.999 * k / 4) for k, weight in enumerate(weights))
                assert float(found[b, y, x]) == pytest.approx(wanted, rel=1e-5)
    assert depth_of_bins(torch.zeros(1, 5, 1, 1), bins).item() == pytest.approx(5.0005)


@pytest.mark.parametrize('variance', [True, False])
def test_the_loss_is_that_of_the_formula(variance):
    predicted, depth = torch.rand(50).double() * 9 + 0.1, torch.rand(50).double() * 9 + 0.1
    errors = [math.log(p + 0.001) - math.log(d + 0.001) for p, d in zip(predicted.tolist(), depth.tolist())]
    mean = sum(errors) / 50
    spread = sum((error - mean)**2 for error in errors) / 49 if variance else 0
    assert sig_loss(predicted, depth, variance).item() == pytest.approx(math.sqrt(spread + 0.15 * mean**2), rel=1e-10)


def test_the_loss_of_perfect_depths_and_of_none_has_a_gradient():
    for depth in (torch.rand(9) + 1, torch.empty(0)):
        predicted = depth.clone().requires_grad_()
        loss = sig_loss(predicted, depth)
        loss.backward()
        assert loss.item() < 1e-5 and predicted.grad.isfinite().all()


def slow_metrics(predicted: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    per_image, squares = [], []
    for one, depth in zip(predicted, truth):
        height, width, errors = *depth.shape, []
        for y in range(int(45 / 480 * height), int(471 / 480 * height)):
            for x in range(int(41 / 640 * width), int(601 / 640 * width)):
                d, p = float(depth[y, x]), min(max(float(one[y, x]), 0.001), 10)
                if 0.001 < d < 10:
                    errors.append(((p - d)**2, abs(p - d) / d, max(p / d, d / p) < 1.25))
        squares += [square for square, *_ in errors]
        per_image.append([math.sqrt(sum(e[0] for e in errors) / len(errors)), sum(e[1] for e in errors) / len(errors),
                          100 * sum(e[2] for e in errors) / len(errors)])
    rmse, abs_rel, delta1 = np.mean(per_image, axis=0)
    return dict(rmse=rmse, abs_rel=abs_rel, delta1=delta1, rmse_pooled=math.sqrt(sum(squares) / len(squares)))


def test_metrics_are_those_of_each_image_and_then_their_mean():
    draw = np.random.default_rng(0)
    truth = [draw.uniform(0, scale, (48, 64)) * (draw.random((48, 64)) > 0.1) for scale in (3, 12, 8)]
    predicted = [np.abs(depth + draw.normal(0, 0.4, depth.shape)) for depth in truth]
    empty = dict(predicted=torch.ones(48, 64), depth=torch.zeros(48, 64))
    metric = DepthMetric()
    metric.process({}, [empty, *(dict(predicted=torch.from_numpy(p), depth=torch.from_numpy(d)) for p, d in zip(predicted, truth))])
    found = metric.compute_metrics(metric.results)
    assert found == pytest.approx(slow_metrics(predicted, truth))
    assert found['rmse_pooled'] != pytest.approx(found['rmse'], rel=1e-5)
    with pytest.raises(InputError, match='no image has a depth that counts: check the unit'):
        metric.compute_metrics([[0, 0., 0., 0.]])


def test_perfect_depths_score_perfectly_and_constant_ones_their_deviation():
    depth = torch.rand(48, 64).double() * 5 + 1
    metric = DepthMetric(crop=None)
    assert metric.compute_metrics([metric.errors(depth, depth)]) == dict(rmse=0, abs_rel=0, delta1=100, rmse_pooled=0)
    found = metric.compute_metrics([metric.errors(torch.full_like(depth, depth.mean()), depth)])
    assert found['rmse'] == pytest.approx(float(depth.std(correction=0)))


@pytest.mark.parametrize('name', ['depth_nyu', 'small_depth_world'])
def test_nothing_in_a_config_is_unknown(name, monkeypatch):
    monkeypatch.setattr('mmdssl.engine.config_check._check_data', lambda node, path: None)
    check_config(Config.fromfile(f'configs/dense/{name}.py'))


def test_the_schedule_is_the_published_one():
    """But for a step by which its cosine runs ahead after the warm-up. A hundred times shorter."""
    cfg, end, warmup = Config.fromfile('configs/dense/depth_nyu.py'), 384, 128
    assert cfg.train_cfg.max_iters == 100 * end
    parameter = nn.Parameter(torch.zeros(1))
    settings = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, settings.pop('type'))([parameter], **settings)
    schedules = []
    for schedule in cfg.param_scheduler:
        ends = {key: schedule[key] // 100 + schedule[key] % 100 for key in ('begin', 'end')}  # 12801 is behind the warm-up
        schedules.append(PARAM_SCHEDULERS.build(dict(schedule, **ends, optimizer=optimizer)))
    for i in range(end):
        group, peak, cosine = optimizer.param_groups[0], 3e-4, (1 + math.cos(math.pi * i / end)) / 2
        rate = peak * (1e-3 + cosine * i / warmup) if i < warmup else peak * (4e-5 + (1 - 4e-5) * cosine)
        share = (i - warmup) / (end - warmup)
        momentum = 0.95 - 0.1 * (1 + math.cos(math.pi * share)) / 2 if i >= warmup else 0
        assert group['lr'] == pytest.approx(rate, rel=2e-3, abs=1e-9) and group['betas'] == pytest.approx((momentum, 0.99), abs=1e-5)
        optimizer.step()
        for schedule in schedules:
            schedule.step()


@pytest.fixture
def probe(tiny_backbone) -> DepthProbe:
    model = DepthProbe(tiny_backbone, dropout=0., num_bins=8)
    nn.init.normal_(model.head[-1].weight, std=1.)
    return model


def test_only_the_head_learns_and_the_first_iterations_have_no_variance(probe):
    images, depths = torch.randn(4, 3, 32, 40), torch.rand(4, 32, 40) * 12 - 1
    probe.train()
    assert not probe.backbone.training and not any(parameter.requires_grad for parameter in probe.backbone.parameters())
    for iteration in (0, 99, 100):
        probe.set_progress(Progress(iteration, 1000, 0, 1))
        found, losses = probe(images, depths)['loss_depth'], []
        predicted = probe.predict(images)
        for some in ([0, 2], [1, 3]):  # as on two processes
            counted = (depths[some] > 0) & (depths[some] <= 10)
            losses.append(sig_loss(predicted[some][counted], depths[some][counted], iteration >= 100))
        assert found.item() == pytest.approx(sum(losses).item() / 2, rel=1e-5)
    found.backward()
    assert all(parameter.grad is not None for parameter in probe.head.parameters())


def test_a_patch_is_where_it_is_and_what_fills_up_the_last_ones_is_cut(probe):
    probe.eval()
    image = torch.randn(1, 3, 30, 37)
    patches = probe.extractor(probe.backbone, image)[0]
    weights = torch.relu(probe.head[1:](patches.mT.reshape(1, 16, 4, 5))[0]) + 0.1
    coarse = (weights / weights.sum(0) * probe.bins.view(-1, 1, 1)).sum(0)
    found = probe.predict(image)[0]
    assert found.shape == (30, 37)
    for y, x in ((0, 0), (11, 20), (29, 36), (17, 3)):
        row, column = (min(max((at + 0.5) / 8 - 0.5, 0), last) for at, last in ((y, 3), (x, 4)))
        top, left = min(int(row), 2), min(int(column), 3)
        down, along = row - top, column - left
        wanted = sum(coarse[top + i, left + j] * (down if i else 1 - down) * (along if j else 1 - along) for i in (0, 1) for j in (0, 1))
        assert found[y, x].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_mirror_image_has_the_mirrored_prediction(probe):
    probe.eval()
    image, depth = torch.randn(1, 3, 32, 37), torch.rand(1, 64, 74)
    with torch.no_grad():
        one, other = (probe(images, depth, 'predict')[0]['predicted'] for images in (image, image.flip(-1)))
    torch.testing.assert_close(one, other.flip(-1))
    assert one.shape == (64, 74)


def test_the_maps_of_a_network_that_knows_no_patches():
    probe = DepthProbe(dict(type='mmdssl.TimmBackbone', name='resnet10t')).eval()
    assert probe.predict(torch.randn(1, 3, 64, 160)).shape == (1, 64, 160)  # 2 x 5 of them


def test_an_extractor_without_patches(tiny_backbone):
    with pytest.raises(InputError, match="the extractor reads 'class': set its read to 'patches'"):
        DepthProbe(tiny_backbone, extractor=dict(read='class'))


@pytest.fixture
def root(tmp_path) -> Path:
    """Rooms whose depth grows downwards, as their brightness does: eight for training and three for tests."""
    for part, folder, number in (('train', 'sync', 8), ('test', 'official_splits/test', 3)):
        (tmp_path / 'nyu' / folder / 'room').mkdir(parents=True)
        for i in range(number):
            levels = (np.linspace(1000 + 300 * i, 6000 + 200 * i, 48)[:, None] + np.zeros((48, 64))).astype(np.uint16)
            Image.fromarray(levels).save(tmp_path / f'nyu/{folder}/room/depth_{i}.png')
            Image.fromarray((levels // 32)[..., None].repeat(3, axis=2).astype(np.uint8)).save(tmp_path / f'nyu/{folder}/room/rgb_{i}.png')
        (tmp_path / f'nyu/nyudepthv2_{part}_files_with_gt.txt').write_text(
            ''.join(f'room/rgb_{i}.png room/depth_{i}.png 518.8579\n' for i in range(number)))
    return tmp_path / 'nyu'


def test_training_from_the_command_line_with_one_process_and_two_stopped_and_tested(root, tiny_weights, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(root=Path.cwd()))
    args = (config, '--data', root, '--pretrained', tiny_weights)
    run_tool('train', *args, '--work-dir', tmp_path / 'one')
    run_tool('train', *args, '--work-dir', tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=2', processes=2)
    records = [read_records(tmp_path / name / 'results.jsonl')[-1] for name in ('one', 'two')]
    assert records[1]['metrics'] == pytest.approx(records[0]['metrics'], rel=2e-3)
    assert records[0]['task'] == 'depth' and records[0]['iteration'] == 6 and records[0]['backbone'].startswith('vit')
    states = [torch.load(tmp_path / name / 'iter_6.pth', weights_only=False)['state_dict'] for name in ('one', 'two')]
    started = DepthProbe(dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=2), patch_size=8, img_size=32,
                              init_cfg=dict(type='SSLPretrained', checkpoint=str(tiny_weights))))
    started.init_weights()
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-4)
        assert torch.equal(tensor, started.state_dict()[name]) == name.startswith('backbone')

    (tmp_path / 'one/last_checkpoint').write_text(str(tmp_path / 'one/iter_3.pth'))
    run_tool('train', *args, '--work-dir', tmp_path / 'one', '--resume')  # no dropout, which is not drawn again
    resumed = torch.load(tmp_path / 'one/iter_6.pth', weights_only=False)['state_dict']
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in states[0].items())

    run_tool('test', config, tmp_path / 'one/iter_6.pth', '--data', root, '--work-dir', tmp_path / 'test',
             '--cfg-options', 'model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2', 'model.backbone.img_size=32')
    assert read_records(tmp_path / 'test/results.jsonl')[-1]['metrics'] == pytest.approx(records[0]['metrics'])
