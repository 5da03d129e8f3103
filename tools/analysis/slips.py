"""Slips of people: wrong values in options, configs, arguments and data, each of which must end in one sentence.

python tools/analysis/slips.py OUT: OUT/data gets some small images and the sample world, OUT/logs what every case printed.
Pretraining runs on a tiny DINO, detection, segmentation and video on the small configs of the sample world. Some right values
are among the cases, as controls: they must be fine.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from campaign import FINE, REFUSED, Case, report, run_cases
from PIL import Image

from mmdssl.datasets.sample_world import make_sample_world

ROOT = Path(__file__).resolve().parents[2]
PRETRAIN = """
default_scope = 'mmdssl'
model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dim=16, depth=1, num_heads=2), patch_size=8, img_size=16),
    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8))
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True, sampler=dict(type='EpochSampler'), collate_fn=dict(type='mmdssl.collate_views'),
    dataset=dict(type='ImageFolder', data_root='data/images/train',
                 views=dict(global_=dict(type='CropViews', size=16, scale=(0.25, 1.0), num=2))))
val_dataloader = dict(batch_size=5, dataset=dict(type='LabelledFolder', data_root='data/images/val', resize=16, size=16))
val_cfg = dict(type='ProtocolLoop', bank=dict(
    batch_size=5, dataset=dict(type='LabelledFolder', data_root='data/images/train', resize=16, size=16)))
val_evaluator = dict(type='KNNMetric', k=(3, ))
train_cfg = dict(type='TrainLoop', max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', constructor='OptimWrapperConstructor', clip_grad=dict(max_norm=3.0),
                     optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=1, by_epoch=True, convert_to_iter_based=True)]
auto_scale_lr = dict(enable=True, base_batch_size=256)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='knn3_top1', rule='greater'))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='CollapseHook', interval=1), dict(type='SkippedImagesHook', interval=1),
                dict(type='ExportBackboneHook'), dict(type='RecordHook')]
log_processor = dict(type='LogProcessor')
visualizer = dict(type='Visualizer', vis_backends=[])
randomness = dict(seed=0)
"""
# Whole runs of other tasks are cut to a step; validation comes after it.
SHORT = ['train_cfg.max_iters=1', 'train_cfg.val_interval=1', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
         'train_dataloader.persistent_workers=False', 'val_dataloader.persistent_workers=False', 'train_dataloader.batch_size=1',
         'param_scheduler=None', 'default_hooks.checkpoint.interval=-1']

WRONG_NUMBERS = ('fast', '-1', 'nan', 'None')
# Keys of the tiny pretraining config, and wrong values of each.
PRETRAIN_OPTIONS = {
    'optim_wrapper.optimizer.lr': (*WRONG_NUMBERS, '[1,2]', '0x10', 'inf'),
    'optim_wrapper.optimizer.weight_decay': ('a', '-1', 'nan', '[0.1]'),
    'optim_wrapper.optimizer.betas': ('[0.9]', '0.9', '(0.9,2)', '(a,b)'),
    'optim_wrapper.optimizer.eps': ('-1', 'small'),
    'optim_wrapper.optimizer.type': ('AdamWW', 'DINO', '3', 'None'),
    'optim_wrapper.type': ('Nothing', 'AdamW'),
    'optim_wrapper.constructor': ('Nothing', ),
    'optim_wrapper.clip_grad.max_norm': ('-1', '0', 'a'),
    'optim_wrapper.clip_grad': ('3', ),
    'optim_wrapper.clip_per_tensor': ('-3', 'a'),
    'optim_wrapper.accumulative_counts': ('0', '-1', '1.5', 'two'),
    'optim_wrapper.amp': ('bf8', 'True', 'fp16'),
    'optim_wrapper': ('None', '3', '[]'),
    'train_dataloader.batch_size': ('0', 'abc', '-4', '2.5', 'None', '1000000000000', '[4]'),
    'train_dataloader.num_workers': ('-1', 'two', '1.5', '1000000000'),
    'train_dataloader.drop_last': ('perhaps', ),
    'train_dataloader.prefetch_factor': ('0', '2'),
    'train_dataloader.sampler.type': ('DefaultSampler', 'None', 'EpochSample'),
    'train_dataloader.sampler.seed': ('-1', 'a'),
    'train_dataloader.sampler': ('None', '5'),
    'train_dataloader.dataset': ('None', 'images'),
    'train_dataloader.dataset.type': ('ImageFile', 'DINO', 'None'),
    'train_dataloader.dataset.data_root': ('gone', '5', 'None', 'tiny.py'),
    'train_dataloader.dataset.indices': ('many', '2.5', '0'),
    'train_dataloader.dataset.views': ('None', '{}', '5'),
    'train_dataloader.dataset.views.global_.size': ('0', '-16', 'big', '16.5', '1000000000', '17', 'None', '(16,16)'),
    'train_dataloader.dataset.views.global_.scale': ('0.5', '(1.0,0.25)', '(0,1)', '(0.2,2)', '(a,b)', '(0.1,0.2,0.3)'),
    'train_dataloader.dataset.views.global_.num': ('0', '-1', '1.5', 'two'),
    'train_dataloader.dataset.views.global_.flip': ('2', 'yes'),
    'train_dataloader.dataset.views.global_.ratio': ('0', '(0,1)', 'wide'),
    'train_dataloader.dataset.views.global_.interpolation': ('cubic', '3'),
    'train_dataloader.dataset.views.global_.box_alpha': ('-1', 'a', '0.6'),
    'train_dataloader.dataset.views.global_.photometric.blur_prob': ('2', ),
    'train_dataloader': ('None', '3'),
    'train_cfg.max_epochs': ('0', '2.5', 'ten', '-1', 'None', '[1]'),
    'train_cfg.val_interval': ('0', '-1', '1.5', 'often'),
    'train_cfg.val_begin': ('-1', 'late'),
    'train_cfg.val_before_train': ('maybe', '2'),
    'train_cfg.type': ('Loop', 'None'),
    'train_cfg': ('None', '7'),
    'val_dataloader.batch_size': ('0', 'abc'),
    'val_dataloader.dataset.data_root': ('gone', ),
    'val_dataloader.dataset.size': ('0', '99', 'a'),
    'val_dataloader.dataset.fraction': ('0', '2', 'all'),
    'val_cfg.bank.batch_size': ('0', 'abc'),
    'val_cfg.bank.dataset.data_root': ('gone', 'data/images'),
    'val_cfg.bank': ('None', ),
    'val_evaluator.k': ('0', '1000', '-1', '2.5', 'many', '[]', '(3,1000)', 'None'),
    'val_evaluator.temperature': ('0', 'cold'),
    'val_evaluator.type': ('KNN', ),
    'model.type': ('DINOO', 'AdamW', 'None', '5', 'ResNet'),
    'model': ('None', 'DINO'),
    'model.momentum': ('2', '-1', 'much', 'nan', 'None', 'True'),
    'model.center_momentum': ('2', '-0.1'),
    'model.student_temperature': ('0', '-1', 'cold'),
    'model.teacher_temperature': ('0.04', '(0.04,0.07)', '(0,0,0)', '(0.04,0.07,1.5)', 'warm'),
    'model.freeze_last_layer': ('-1', '0.5', 'one'),
    'model.head.num_prototypes': ('0', '1', '-8', '8.5', 'many', 'None', '1000000000000000'),
    'model.head.hidden_dim': ('0', '-1', 'wide'),
    'model.head.bottleneck_dim': ('0', '1.5'),
    'model.head.num_layers': ('0', '-2', 'a'),
    'model.head.use_bn': ('yes', '1'),
    'model.head': ('None', '8'),
    'model.backbone': ('None', 'VisionTransformer'),
    'model.backbone.type': ('ViT', 'DINO'),
    'model.backbone.patch_size': ('0', 'eight', '-8', '7', '8.0', 'None', '(8,8)'),
    'model.backbone.img_size': ('0', '-16', 'a', '20', '1000000000'),
    'model.backbone.arch': ('huge', '5', 'None'),
    'model.backbone.arch.embed_dim': ('0', '15', 'a', '-16', '2.5'),
    'model.backbone.arch.depth': ('0', '-1', 'deep', '1.5'),
    'model.backbone.arch.num_heads': ('0', '3', '-2'),
    'model.backbone.drop_path_rate': ('2', '-1', 'a'),
    'model.backbone.position': ('sin', '3'),
    'model.backbone.init': ('zero', ),
    'model.backbone.out_indices': ('5', '[9]', '[]', 'last'),
    'model.backbone.mlp_ratio': ('0', '-4'),
    'model.backbone.num_registers': ('-1', 'a'),
    'model.backbone.window_size': ('0', '-1'),
    'model.backbone.init_cfg': ('3', 'imagenet'),
    'model.data_preprocessor.std': ('(0,0,0)', '5'),
    'randomness.seed': ('-1', 'abc', '1.5', '99999999999'),
    'randomness.deterministic': ('yes', ),
    'compile': ('yes', '1', '[]'),
    'auto_scale_lr.base_batch_size': ('0', '-256', 'a', 'None'),
    'auto_scale_lr.enable': ('yes', ),
    'param_scheduler': ('cosine', '[1]', '5'),
    'param_scheduler.0.type': ('Cosine', 'None'),
    'param_scheduler.0.T_max': ('0', '-1', 'long', '1.5'),
    'param_scheduler.0.begin': ('-1', 'now', '5'),
    'param_scheduler.0.by_epoch': ('yes', ),
    'default_hooks.logger.interval': ('0', '-1', 'a', '1.5'),
    'default_hooks.checkpoint.interval': ('a', '1.5', '-5'),
    'default_hooks.checkpoint.save_best': ('knn20_top1', 'knn', '5'),
    'default_hooks.checkpoint.rule': ('bigger', ),
    'default_hooks.checkpoint.max_keep_ckpts': ('a', '-3'),
    'default_hooks.checkpoint': ('5', ),
    'default_hooks': ('5', '[]'),
    'custom_hooks': ('AlgorithmHook', '[1]'),
    'custom_hooks.1.interval': ('0', '-1', 'a'),
    'custom_hooks.2.max_share': ('2', '-1', 'a'),
    'custom_hooks.4.task': ('5', ),
    'custom_hooks.9.interval': ('1', ),
    'log_processor.window_size': ('0', 'a'),
    'work_dir': ('5', 'tiny.py'),
    'load_from': ('gone.pth', '5', 'tiny.py', 'data'),
    'resume': ('maybe', ),
    'log_level': ('LOUD', '99'),
    'default_scope': ('nowhere', '5'),
    'runner_type': ('Walker', '5'),
    'launcher': ('rocket', ),
    'optim_wrapper.optimiser.lr': ('1', ),
    'nothing': ('1', ),
}
DETECTION_OPTIONS = {
    'train_cfg.max_iters': ('0', '2.5', 'ten', '-1', 'None'),
    'train_cfg.val_interval': ('0', 'a'),
    'optim_wrapper.optimizer.lr': ('fast', '-1', 'nan'),
    'optim_wrapper.paramwise_cfg.layer_decay': ('a', '-1'),
    'optim_wrapper.paramwise_cfg.decay_biases': ('yes', ),
    'train_dataloader.batch_size': ('0', 'abc', '1000000000000'),
    'train_dataloader.dataset.ann_file': ('gone.json', '5'),
    'train_dataloader.dataset.data_prefix.img': ('gone', '5'),
    'train_dataloader.dataset.metainfo.classes': ('(zebra,okapi)', '5'),
    'train_dataloader.dataset.pipeline.2.type': ('Resise', ),
    'train_dataloader.dataset.pipeline.2.scale': ('0', 'big', '-5'),
    'model.backbone.patch_size': ('eight', '0', '14'),
    'model.neck.in_channels': ('[1]', 'a', '5'),
    'model.neck.type': ('FPNN', 'AdamW'),
    'model.roi_head.bbox_head.num_classes': ('0', '-1', 'a', '3'),
    'model.roi_head.mask_head.num_convs': ('a', ),
    'model.rpn_head.anchor_generator.scales': ('a', ),
    'model.type': ('MaskRCN', ),
    'val_evaluator.metric': ('boxes', '5'),
    'val_evaluator.type': ('Coco', ),
    'sync_bn': ('yes', ),
}
SEGMENTATION_OPTIONS = {
    'train_cfg.max_iters': ('0', 'ten'),
    'model.decode_head.num_classes': ('0', '-1', 'a'),
    'train_dataloader.dataset.data_prefix.img_path': ('gone', ),
    'train_dataloader.dataset.data_prefix.seg_map_path': ('gone', '5'),
    'train_dataloader.dataset.img_suffix': ('.tif', '5'),
    'train_dataloader.dataset.pipeline.1.num_classes': ('3', '0', 'a'),
    'train_dataloader.dataset.pipeline.3.crop_size': ('0', 'a'),
    'val_evaluator.iou_metrics': ('mIoUs', '5'),
}
VIDEO_OPTIONS = {
    'model.context_frames': ('-1', 'a', '[]', '1.5'),
    'model.top_k': ('0', 'a'),
    'model.temperature': ('0', '-1', 'a'),
    'model.radius': ('-1', 'a'),
    'model.frames_per_forward': ('0', '-1'),
    'model.amp': ('half', ),
    'model.std': ('(0,0,0)', '5'),
    'test_dataloader.dataset.short_side': ('0', 'a', '-5'),
    'test_dataloader.dataset.long_side_step': ('0', 'a'),
    'test_dataloader.dataset.split': ('gone', '5'),
    'test_dataloader.dataset.year': ('1999', ),
    'test_evaluator.video': ('yes', ),
}
# Controls: these are right, however odd some of them look.
RIGHT_PRETRAIN = ('optim_wrapper.optimizer.lr=0', 'optim_wrapper.optimizer.lr=1', 'model.momentum=1', 'model.momentum=0',
                  'val_evaluator.k=[3,12]', 'val_evaluator.k=[1,3]', 'randomness.seed=None', 'train_dataloader.batch_size=12',
                  'model.teacher_temperature=[0.04,0.04,0]', 'compile=False', 'param_scheduler=None', 'optim_wrapper.clip_grad=None',
                  'optim_wrapper.optimizer.betas=[0.9,0.99]', 'model.backbone.out_indices=[-1]', 'load_from=None',
                  'default_hooks.checkpoint.interval=-1', 'train_dataloader.dataset.indices=8')
# What replaces what in the text of the pretraining config.
TEXTS = {
    'empty': (PRETRAIN, ''),
    'syntax': ('model = dict(', 'model = dict(('),
    'base-gone': ("default_scope = 'mmdssl'", "_base_ = 'gone.py'"),
    'base-itself': ("default_scope = 'mmdssl'", "_base_ = 'broken.py'"),
    'base-number': ("default_scope = 'mmdssl'", '_base_ = 5'),
    'raises': ("default_scope = 'mmdssl'", 'x = 1 / 0'),
    'import-gone': ("default_scope = 'mmdssl'", "custom_imports = dict(imports=['nothing_of_this_name'])"),
    'import-number': ("default_scope = 'mmdssl'", "default_scope = 'mmdssl'\ncustom_imports = dict(imports=5)"),
    'model-type-missing': ("type='DINO',", ''),
    'loop-type-missing': ("type='TrainLoop', ", ''),
    'optimizer-type-missing': ("type='AdamW', ", ''),
    'hook-type-missing': ("dict(type='AlgorithmHook')", 'dict()'),
    'dataset-type-missing': ("type='ImageFolder', ", ''),
    'metric-type-missing': ("type='KNNMetric', ", ''),
    'head-missing': (',\n    head=dict(num_prototypes=8, hidden_dim=16, bottleneck_dim=8)', ''),
    'scale-missing': (', scale=(0.25, 1.0)', ''),
    'max-epochs-missing': (', max_epochs=1', ''),
    'bank-missing': ("type='ProtocolLoop', bank=dict(\n    batch_size=5, "
                     "dataset=dict(type='LabelledFolder', data_root='data/images/train', "
                     'resize=16, size=16)))', "type='ProtocolLoop')"),
    'unknown-argument': ('num_prototypes=8', 'num_protos=8'),
    'base-batch-size-missing': (', base_batch_size=256', ''),
    'dataset-missing': (PRETRAIN[PRETRAIN.index("    dataset=dict(type='ImageFolder'"):PRETRAIN.index('val_dataloader')], ')\n'),
}


def command(name: str) -> Callable[[list[str]], int]:
    """The ``main`` of a command of ``tools/``."""
    spec = importlib.util.spec_from_file_location(f'slips_{name}', ROOT / f'tools/{name}.py')
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def make_data(folder: Path) -> None:
    """Images in class folders, the sample world, variants of its COCO and ADE20K that are wrong, and some files."""
    draw = np.random.default_rng(0)
    for part, number in (('train', 6), ('val', 2)):
        for name in ('a', 'b'):
            place = folder / 'data/images' / part / name
            place.mkdir(parents=True, exist_ok=True)
            for i in range(number):
                Image.fromarray(draw.integers(0, 255, (20, 24, 3), np.uint8)).save(place / f'{i}.png')
    make_sample_world(folder / 'data/world', train=10, val=10, size=16, coco=(6, 2), ade20k=(4, 2), clips=(0, 1), frames=3, workers=1)
    for name, path in dict(empty='data/empty', text='notes.txt', json='list.json', page='page.pth').items():
        if name == 'empty':
            (folder / path).mkdir(exist_ok=True)
        else:
            (folder / path).write_text(dict(text='no such image', json='[]', page='<html>')[name])
    torch.save(dict(model=dict(a=torch.zeros(2))), folder / 'odd.pth')
    (folder / 'tiny.py').write_text(PRETRAIN)
    for name, (old, new) in TEXTS.items():
        assert old in PRETRAIN, name
        (folder / f'{name}.py').write_text(PRETRAIN.replace(old, new))
    (folder / 'broken.py').write_text("_base_ = 'broken.py'")


def change_coco(name: str) -> Callable[[dict], object]:
    def each(part: str, **values) -> Callable[[dict], None]:
        return lambda coco: [entry.update(values) for entry in coco[part]]

    def without(part: str, key: str) -> Callable[[dict], object]:
        return lambda coco: [entry.pop(key, None) for entry in coco[part]]
    return {
        'name-is-a-number': each('images', file_name=5), 'name-is-gone': each('images', file_name='gone.jpg'),
        'width-is-a-text': each('images', width='wide'), 'boxes-of-texts': each('annotations', bbox=['1', '2', '3', '4']),
        'boxes-of-three': each('annotations', bbox=[1, 2, 3]), 'boxes-none': each('annotations', bbox=None),
        'no-segmentation': without('annotations', 'segmentation'), 'no-area': without('annotations', 'area'),
        'no-boxes': without('annotations', 'bbox'), 'area-is-a-text': each('annotations', area='large'),
        'no-category': without('annotations', 'category_id'), 'unknown-category': each('annotations', category_id=99),
        'no-annotations': lambda coco: coco['annotations'].clear(), 'no-images': lambda coco: coco['images'].clear(),
        'no-categories': lambda coco: coco['categories'].clear(), 'same-ids': each('annotations', id=1),
        'image-without-id': without('images', 'id'), 'annotations-is-a-dict': lambda coco: coco.update(annotations={}),
    }[name]


COCO_CHANGES = ('name-is-a-number', 'name-is-gone', 'width-is-a-text', 'boxes-of-texts', 'boxes-of-three', 'boxes-none',
                'no-segmentation', 'no-area', 'no-boxes', 'area-is-a-text', 'no-category', 'unknown-category', 'no-annotations',
                'no-images', 'no-categories', 'same-ids', 'image-without-id', 'annotations-is-a-dict')


def cases(folder: Path, match: str) -> Iterator[Case]:
    train, test = command('train'), command('test')

    def case(name: str, main: Callable[[list[str]], int], arguments: list[str], expected: tuple[str, ...] = REFUSED) -> Iterator[Case]:
        name = re.sub(r'[^\w=.,()\[\]-]+', '_', name)[:120]
        if not re.search(match, name):
            return

        def run() -> int:
            os.chdir(folder)
            return main(arguments)
        yield Case(name, run, expected)

    def work(name: str) -> list[str]:
        return ['--work-dir', f'runs/{re.sub(r"[^a-z0-9]+", "_", name.lower())}']

    small = dict(detection='detection/small_mask-rcnn_world', segmentation='segmentation/small_semfpn_world',
                 video='video/small_davis2017_world')
    configs = {task: str(ROOT / f'configs/{name}.py') for task, name in small.items()}
    yield from case('right', train, ['tiny.py', *work('right')], FINE)
    for option in RIGHT_PRETRAIN:
        yield from case(f'right {option}', train, ['tiny.py', *work(f'right {option}'), '--cfg-options', option], FINE)
    for key, values in PRETRAIN_OPTIONS.items():
        for value in values:
            name = f'{key}={value}'
            place = [] if key == 'work_dir' else work(name)
            yield from case(name, train, ['tiny.py', *place, '--cfg-options', name])
    for name in TEXTS:
        yield from case(f'config {name}', train, [f'{name}.py', *work(name)])

    dense = {'detection': ['--data', 'data/world/coco'], 'segmentation': ['--data', 'data/world/ade20k']}
    for task, options in (('detection', DETECTION_OPTIONS), ('segmentation', SEGMENTATION_OPTIONS)):
        yield from case(f'right {task}', train, [configs[task], *dense[task], *work(f'right {task}'), '--cfg-options', *SHORT], FINE)
        for key, values in options.items():
            for value in values:
                rest = [option for option in SHORT if not option.startswith(f'{key}=')]
                yield from case(f'{task} {key}={value}', train,
                                [configs[task], *dense[task], *work(f'{task} {key}={value}'), '--cfg-options', *rest, f'{key}={value}'])
    for name in COCO_CHANGES:
        root = folder / f'data/coco-{name}'

        def on_coco(arguments: list[str], name: str = name, root: Path = root) -> int:
            wrong_coco(folder, root, name)
            return train(arguments)

        yield from case(f'coco {name}', on_coco,
                        [configs['detection'], '--data', str(root), *work(f'coco {name}'), '--cfg-options', *SHORT],
                        FINE + REFUSED if name in ('no-category', 'same-ids') else REFUSED)
        yield from case(f'images of coco {name}', on_coco,
                        ['tiny.py', '--data', str(root / 'annotations/instances_train2017.json'), *work(f'images of coco {name}')],
                        REFUSED if name in ('name-is-a-number', 'name-is-gone', 'no-images') else FINE)
    for name, pixels in dict(void=0, unknown=99).items():
        root = folder / f'data/ade20k-{name}'

        def on_maps(arguments: list[str], pixels: int = pixels, root: Path = root) -> int:
            flat_maps(folder, root, pixels)
            return train(arguments)

        yield from case(f'label maps {name}', on_maps,
                        [configs['segmentation'], '--data', str(root), *work(f'maps {name}'), '--cfg-options', *SHORT])

    video = ['--random', '--data', 'data/world/davis']
    backbone = 'runs/right/backbone.safetensors'
    yield from case('right video', test, [configs['video'], backbone, *video, *work('right video')], FINE)
    for key, values in VIDEO_OPTIONS.items():
        for value in values:
            yield from case(f'video {key}={value}', test,
                            [configs['video'], backbone, *video, *work(f'video {key}={value}'), '--cfg-options', f'{key}={value}'])

    tiny, checkpoint = 'tiny.py', 'runs/right/epoch_1.pth'
    lines = {
        'train no arguments': (train, []),
        'train no config': (train, ['gone.py']),
        'train a folder': (train, ['data']),
        'train a text': (train, ['notes.txt']),
        'train an image': (train, ['data/images/train/a/0.png']),
        'train unknown argument': (train, [tiny, '--epochs', '5']),
        'train option without =': (train, [tiny, '--cfg-options', 'train_cfg.max_epochs']),
        'train option without key': (train, [tiny, '--cfg-options', '=5']),
        'train option unbalanced': (train, [tiny, '--cfg-options', 'val_evaluator.k=[1,(2,3']),
        'train option below a number': (train, [tiny, '--cfg-options', 'train_cfg.max_epochs.x=3']),
        'train no options': (train, [tiny, '--cfg-options']),
        'train --amp half': (train, [tiny, '--amp', 'half']),
        'train --amp fp16': (train, [tiny, '--amp', 'fp16']),
        'train --launcher pytorch': (train, [tiny, '--launcher', 'pytorch']),
        'train --launcher slurm': (train, [tiny, '--launcher', 'slurm']),
        'train --launcher mpi': (train, [tiny, '--launcher', 'mpi']),
        'train --launcher ssh': (train, [tiny, '--launcher', 'ssh']),
        'train --work-dir a file': (train, [tiny, '--work-dir', 'notes.txt']),
        'train --work-dir below a file': (train, [tiny, '--work-dir', 'notes.txt/run']),
        'train --work-dir below proc': (train, [tiny, '--work-dir', '/proc/mmdssl']),
        'train --resume gone': (train, [tiny, '--resume', 'gone.pth']),
        'train --resume a folder': (train, [tiny, '--resume', 'data']),
        'train --resume a text': (train, [tiny, '--resume', 'notes.txt']),
        'train --resume a page': (train, [tiny, '--resume', 'page.pth']),
        'train --resume odd': (train, [tiny, '--resume', 'odd.pth']),
        'train --resume a backbone': (train, [tiny, '--resume', backbone]),
        'train --data gone': (train, [tiny, '--data', 'gone']),
        'train --data empty': (train, [tiny, '--data', 'data/empty']),
        'train --data a text without images': (train, [tiny, '--data', 'notes.txt']),
        'train --data a list that is none': (train, [tiny, '--data', 'list.json']),
        'train --data an image': (train, [tiny, '--data', 'data/images/train/a/0.png']),
        'train --data a checkpoint': (train, [tiny, '--data', 'odd.pth']),
        'train --data a video': (train, [tiny, '--data', 'page.pth']),
        'train --knn gone': (train, [tiny, '--knn', 'gone']),
        'train --knn layout': (train, [tiny, '--knn', 'data/images/train']),
        'train --knn a file': (train, [tiny, '--knn', 'notes.txt']),
        'train --knn for detection': (train, [configs['detection'], '--knn', 'data/images']),
        'train --data for detection layout': (train, [configs['detection'], '--data', 'data/images']),
        'train --data for detection file': (train, [configs['detection'], '--data', 'notes.txt']),
        'train --pretrained gone': (train, [configs['detection'], *dense['detection'], '--pretrained', 'gone.pth']),
        'train --pretrained text': (train, [configs['detection'], *dense['detection'], '--pretrained', 'notes.txt']),
        'train --pretrained odd': (train, [configs['detection'], *dense['detection'], '--pretrained', 'odd.pth']),
        'train --pretrained for pretraining': (train, [tiny, '--pretrained', 'gone.pth']),
        'train --random alone': (train, [configs['video'], '--random']),
        'train video': (train, [configs['video']]),
        'train --dry-run lr=fast': (train, [tiny, '--dry-run', '--cfg-options', 'optim_wrapper.optimizer.lr=fast']),
        'test no arguments': (test, []),
        'test pretraining': (test, [tiny, checkpoint]),
        'test gone': (test, [configs['video'], 'gone.pth', '--data', 'data/world/davis']),
        'test a page': (test, [configs['video'], 'page.pth', '--data', 'data/world/davis']),
        'test odd': (test, [configs['video'], 'odd.pth', '--data', 'data/world/davis']),
        'test --data gone': (test, [configs['video'], backbone, '--data', 'gone']),
        'test --data layout': (test, [configs['video'], backbone, '--data', 'data/images']),
        'test detection backbone': (test, [configs['detection'], backbone, *dense['detection']]),
        'test detection gone': (test, [configs['detection'], 'gone.pth', *dense['detection']]),
    }
    for name, arguments in {
        'gone': ['gone.pth'], 'a page': ['page.pth'], 'a folder': ['data'], 'odd': ['odd.pth'], '--gpus 0': [backbone, '--gpus', '0'],
        '--gpus two': [backbone, '--gpus', 'two'], '--suite nothing': [backbone, '--suite', 'nothing'],
        '--cfg-options nothing': [backbone, '--cfg-options', 'nothing=1'], '--data gone': [backbone, '--suite', 'video', '--data', 'gone'],
        '--data layout': [backbone, '--suite', 'video', '--data', 'data/images'], '--work-dir a file': [
            backbone, '--work-dir', 'notes.txt', '--table-only'],
        'option without =': [backbone, '--cfg-options', 'small_semfpn_world.train_cfg.max_iters'],
        '--table-only of nothing': [backbone, '--table-only', '--work-dir', 'runs/none'],
    }.items():
        lines[f'benchmark {name}'] = (command('benchmark'), arguments)
    for name, arguments in {
        'gone': ['gone.pth', 'out.pth', '--to', 'timm'], 'a page': ['page.pth', 'out.pth', '--to', 'timm'],
        'odd': ['odd.pth', 'out.pth', '--to', 'timm'], 'no form': [backbone, 'out.pth'],
        'a form of none': [backbone, 'out.pth', '--to', 'mmpose'], 'a suffix of none': [backbone, 'out.txt', '--to', 'timm'],
        'a folder of none': [backbone, 'gone/out.pth', '--to', 'timm'], 'onto a folder': [backbone, 'data', '--to', 'timm'],
        'a network of none': [backbone, 'out.pth', '--to', 'timm', '--network', 'uncle'],
    }.items():
        lines[f'convert {name}'] = (command('convert_checkpoint'), arguments)
    crops = str(ROOT / 'configs/pretrain/bam_contrastive-crop.py')
    for name, arguments in {
        'without hook': [tiny, backbone, '--images', 'data/images'], 'gone': [crops, 'gone.pth', '--images', 'data/images'],
        'images gone': [crops, backbone, '--images', 'gone'], 'number 0': [crops, backbone, '--images', 'data/images', '--number', '0'],
        'number a': [crops, backbone, '--images', 'data/images', '--number', 'a'],
        'out': [crops, backbone, '--images', 'data/images', '--out', 'gone/a.png'],
        'out a text': [crops, backbone, '--images', 'data/images', '--out', 'crops.xyz'],
        'seed': [crops, backbone, '--images', 'data/images', '--seed', '-1'],
        'threshold': [crops, backbone, '--images', 'data/images', '--cfg-options', 'default_hooks.contrastive_crop.threshold=a'],
    }.items():
        lines[f'draw_crops {name}'] = (command('draw_crops'), arguments)
    for name, arguments in {
        'gone': ['gone', 'data/world/davis'], 'data gone': ['data', 'gone'], 'split': ['data', 'data/world/davis', '--split', 'gone'],
        'empty': ['data/empty', 'data/world/davis'], 'a file': ['notes.txt', 'data/world/davis'],
    }.items():
        lines[f'eval_davis {name}'] = (command('eval_davis'), arguments)
    for name, arguments in {
        'train=3': ['w', '--train', '3'], 'seed=-1': ['w', '--seed', '-1'], 'size=a': ['w', '--size', 'a'], 'size=0': ['w', '--size', '0'],
        'coco=-1': ['w', '--coco', '-1', '2'], 'one coco': ['w', '--coco', '2'], 'workers=0': ['w', '--workers', '0'],
        'frames=1': ['w', '--frames', '1'], 'something else': ['data/images'], 'a file': ['notes.txt'], 'below a file': ['notes.txt/w'],
    }.items():
        lines[f'make_sample_world {name}'] = (command('make_sample_world'), arguments)
    for name, arguments in {
        'train=3': ['--train', '3'], 'out a file': ['--out', 'notes.txt'], 'train=a': ['--train', 'a'],
    }.items():
        lines[f'quickstart {name}'] = (command('quickstart'), arguments)
    for name, (main, arguments) in lines.items():
        yield from case(name, main, arguments)


def wrong_coco(folder: Path, root: Path, name: str) -> None:
    """A COCO whose training annotations are changed; images are those of the sample world."""
    source = folder / 'data/world/coco'
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    for images in ('train2017', 'val2017'):
        if not (root / images).exists():
            (root / images).symlink_to(source / images)
    for part in ('train', 'val'):
        coco = json.loads((source / f'annotations/instances_{part}2017.json').read_text())
        if part == 'train':
            change_coco(name)(coco)
        (root / f'annotations/instances_{part}2017.json').write_text(json.dumps(coco))


def flat_maps(folder: Path, root: Path, value: int) -> None:
    """An ADE20K whose label maps have one index everywhere."""
    source = folder / 'data/world/ade20k'
    root.mkdir(exist_ok=True)
    if not (root / 'images').exists():
        (root / 'images').symlink_to(source / 'images')
    for path in (source / 'annotations').rglob('*.png'):
        place = root / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full_like(np.array(Image.open(path)), value)).save(place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder for data, runs and logs')
    parser.add_argument('--match', default='', metavar='REGEX', help='only the cases whose name matches')
    args = parser.parse_args()
    folder = args.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ['COLUMNS'] = '1000'
    torch.set_num_threads(1)
    make_data(folder)
    for package in ('mmdet', 'mmseg'):  # takes seconds, once for all cases
        import_module(f'{package}.utils').register_all_modules(init_default_scope=False)
    return report('slips', run_cases(cases(folder, args.match), folder / 'logs'))


if __name__ == '__main__':
    sys.exit(main())
