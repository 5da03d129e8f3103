"""Whole runs of the dense tasks from the command line: train, test, on two processes, from somebody else's project."""
from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import timm
import torch
from processes import run_tool
from safetensors.torch import save_file

from mmdssl.checkpoint import load_backbone, save_backbone
from mmdssl.datasets.sample_world import make_sample_world
from mmdssl.registry import MODELS
from mmdssl.results.records import read_records

ROOT = Path(__file__).parents[2]
SMALL = dict(type='mmdssl.VisionTransformer', arch=dict(embed_dim=32, depth=4, num_heads=2), patch_size=8, img_size=64,
             position='sincos')
DETECTION = """
_base_ = '{root}/configs/detection/small_mask-rcnn_coco.py'
metainfo = dict(classes=('ball', 'crate', 'cone', 'drum', 'jack'))
model = dict(roi_head=dict(bbox_head=dict(num_classes=5), mask_head=dict(num_classes=5)), test_cfg=dict(rcnn=dict(score_thr=0.0)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_iters=2, val_interval=2)
"""
# Without dropout, normalisation over the batch and random transforms, so that half a batch on each of two processes is one batch.
SEGMENTATION = """
_base_ = '{root}/configs/segmentation/small_semfpn_camvid.py'
pipeline = [dict(type='mmdssl.LoadImage'), dict(type='LoadAnnotations', reduce_zero_label=True), dict(type='PackSegInputs')]
data = dict(metainfo=dict(classes=tuple('abcdefghijk')), img_suffix='.jpg', reduce_zero_label=True, pipeline=pipeline)
model = dict(data_preprocessor=dict(seg_pad_val=255),
             decode_head=dict(dropout_ratio=0.0, norm_cfg=dict(_delete_=True, type='GN', num_groups=4), ignore_index=255),
             backbone=dict(pyramid=False))
train_dataloader = dict(dataset=dict(data, data_prefix=dict(img_path='images/training', seg_map_path='annotations/training')))
val_dataloader = dict(dataset=dict(data, data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation')))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(ignore_index=255)
optim_wrapper = dict(_delete_=True, type='mmdssl.OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
param_scheduler = []
train_cfg = dict(max_iters=4, val_interval=4)
"""


@pytest.fixture(scope='module')
def world(tmp_path_factory) -> Path:
    for package in ('mmdet', 'mmseg'):  # here, once, and not in each of the processes
        import_module(f'{package}.datasets')
        import_module(f'{package}.evaluation')
    root = tmp_path_factory.mktemp('world') / 'world'
    make_sample_world(root, train=10, val=10, size=16, coco=(4, 3), ade20k=(4, 3), clips=(0, 3), frames=4, workers=1)
    return root


@pytest.fixture(scope='module')
def backbone(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'backbone.safetensors'
    torch.manual_seed(1)  # not what a run of seed 0 starts from
    save_backbone(MODELS.build(SMALL), path, SMALL)
    return path


def metrics(work_dir: Path) -> dict[str, float]:
    found = read_records(work_dir / 'results.jsonl')[-1]['metrics']
    return {name: value for name, value in found.items() if 'seconds' not in name}


def config(folder: Path, text: str) -> Path:
    path = folder / 'config.py'
    path.write_text(text.format(root=ROOT))
    return path


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_dinov2_and_dinov3_of_timm_run_in_mask_rcnn_and_upernet(task, world, tmp_path):
    """Registers, LayerScale and 14-pixel patches in one, rotary positions and 16-pixel patches in the other."""
    name, args = dict(detection=('vit_small_patch14_reg4_dinov2', dict(img_size=56)),
                      segmentation=('vit_small_patch16_dinov3_qkvb', {}))[task]
    network = timm.create_model(name, embed_dim=64, depth=4, num_heads=1, num_classes=0, **args)
    save_file(network.state_dict(), tmp_path / 'model.safetensors')
    text = DETECTION if task == 'detection' else SEGMENTATION.replace('semfpn', 'upernet').replace(
        'backbone=dict(', 'auxiliary_head=dict(norm_cfg=dict(_delete_=True, type="GN", num_groups=4), ignore_index=255),\n'
        '             backbone=dict(')
    data = world / dict(detection='coco', segmentation='ade20k')[task]
    run_tool('train', config(tmp_path, text.replace('pyramid=False', 'pyramid=True')), '--data', data,
             '--pretrained', tmp_path / 'model.safetensors', '--work-dir', tmp_path / 'train', '--cfg-options', 'train_cfg.max_iters=2')
    trained = torch.load(next((tmp_path / 'train').glob('iter_*.pth')), weights_only=False)['state_dict']
    before, after = network.blocks[0].attn.proj.weight, trained['backbone.blocks.0.attn.proj.weight']
    assert after.isfinite().all() and 0 < (after - before).abs().max() < 0.1


def test_detection(world, backbone, tmp_path):
    path = config(tmp_path, DETECTION)
    data = ('--data', world / 'coco')
    console = run_tool('train', path, *data, '--pretrained', backbone, '--work-dir', tmp_path / 'train')
    assert console.count('bbox_mAP:') == 1
    for stray in 'loading annotations', 'Average Precision', 'Evaluating', 'OneDL', 'Warning':
        assert stray not in console
    record = read_records(tmp_path / 'train/results.jsonl')[-1]
    assert record['task'] == 'detection' and record['backbone'] == 'vit-4x32/8' and record['iteration'] == 2
    assert record['pretrained']['path'] == str(backbone) and set(record['metrics']) >= {'box_AP', 'box_AP50', 'mask_AP'}
    detector = tmp_path / 'train/iter_2.pth'
    path = tmp_path / 'train/config.py'  # which knows the size of the backbone
    for processes in (1, 2):  # three images: the last one is there twice for two processes, and must count once
        run_tool('test', path, detector, *data, '--work-dir', tmp_path / f'test{processes}', processes=processes)
        assert metrics(tmp_path / f'test{processes}') == pytest.approx(record['metrics'], abs=1e-6)


def test_segmentation_trains_and_tests_the_same_on_two_processes(world, backbone, tmp_path):
    path = config(tmp_path, SEGMENTATION)
    args = (path, '--data', world / 'ade20k', '--pretrained', backbone)
    run_tool('train', *args, '--work-dir', tmp_path / 'one')
    run_tool('train', *args, '--work-dir', tmp_path / 'two', '--cfg-options', 'train_dataloader.batch_size=2', processes=2)
    one, two = (torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict'] for name in ('one', 'two'))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    assert metrics(tmp_path / 'two') == pytest.approx(metrics(tmp_path / 'one'), abs=0.1)
    started = MODELS.build(SMALL).state_dict()
    assert not torch.equal(one['backbone.blocks.0.attn.qkv.weight'], load_backbone(backbone).blocks[0].attn.qkv.weight)
    assert started.keys() <= {name.removeprefix('backbone.') for name in one}


def test_video_is_the_same_on_two_processes(world, backbone, tmp_path):
    args = (ROOT / 'configs/video/davis2017.py', backbone, '--data', world / 'davis')
    small = ('test_dataloader.dataset.short_side=64', 'test_dataloader.dataset.long_side_step=8')
    for processes in (1, 2):
        out = run_tool('test', *args, '--work-dir', tmp_path / str(processes), '--cfg-options', *small, processes=processes)
        assert 'J&F' in out
    assert metrics(tmp_path / '2') == pytest.approx(metrics(tmp_path / '1'), abs=1e-6)
    run_tool('test', *args, '--random', '--work-dir', tmp_path / 'random', '--cfg-options', *small)
    records = [read_records(tmp_path / name / 'results.jsonl')[-1] for name in ('1', 'random')]
    assert 'pretrained' in records[0] and 'pretrained' not in records[1]
    assert records[0]['checkpoint'] != records[1]['checkpoint'] and records[0]['backbone'] == records[1]['backbone']


DOWNSTREAM = """
# A project of its own: mmdet's runner, data and heads, with the backbone and the weights of mmdssl.
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mmdssl'])
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch=dict(embed_dim=32, depth=4, num_heads=2),
        patch_size=8,
        img_size=64,
        position='sincos',
        out_indices=(0, 1, 2, 3),
        pyramid=True,
        init_cfg=dict(type='SSLPretrained', checkpoint='{backbone}')),
    neck=dict(in_channels=[32, 32, 32, 32]),
    roi_head=dict(bbox_head=dict(num_classes=5)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CocoDataset', data_root='{world}/coco', ann_file='annotations/instances_train2017.json',
                 data_prefix=dict(img='train2017'), metainfo=dict(classes=('ball', 'crate', 'cone', 'drum', 'jack')),
                 pipeline=pipeline))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(
    constructor='mmdssl.OptimWrapperConstructor', type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(layer_decay=0.75, decay_embeddings=False))
work_dir = 'work'
"""
SCRIPT = """
from mmengine.config import Config
from mmengine.runner import Runner
runner = Runner.from_cfg(Config.fromfile('my_detector.py'))
runner.train()
print('rates', sorted({round(group['lr'] / 1e-4, 4) for group in runner.optim_wrapper.optimizer.param_groups}))
"""


def test_a_downstream_project_uses_backbone_weights_and_layer_decay(world, backbone, tmp_path):
    (tmp_path / 'my_detector.py').write_text(DOWNSTREAM.format(world=world, backbone=backbone))
    (tmp_path / 'my_train.py').write_text(SCRIPT)
    done = subprocess.run([sys.executable, 'my_train.py'], cwd=tmp_path, capture_output=True, text=True,
                          env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f'{backbone}: layout mmdssl, ' in done.stdout + done.stderr
    assert 'rates [0.2373, 0.3164, 0.4219, 0.5625, 0.75, 1.0]' in done.stdout
