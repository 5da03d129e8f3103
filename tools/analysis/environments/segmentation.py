# A config for mmseg's own tools: its Semantic FPN on our backbone, ten iterations on the sample world.
_base_ = ['mmseg::_base_/models/fpn_r50.py', 'mmseg::_base_/default_runtime.py']
custom_imports = dict(imports=['mmdssl'])
classes = ('sky', 'grass', 'sand', 'tiles', 'planks', 'pebbles', 'ball', 'crate', 'cone', 'drum', 'jack')
norm_cfg = dict(type='BN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        _delete_=True, type='mmdssl.VisionTransformer', arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64,
        position='sincos', out_indices=(0, 1, 2, 3), pyramid=True,
        init_cfg=dict(type='SSLPretrained', checkpoint='run/backbone.safetensors')),
    neck=dict(in_channels=[128] * 4, out_channels=64),
    decode_head=dict(in_channels=[64] * 4, channels=32, num_classes=len(classes), norm_cfg=norm_cfg))
load, label, resize = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='Resize', scale=(96, 96))
train_pipeline = [load, label, resize, dict(type='PackSegInputs')]
test_pipeline = [load, resize, label, dict(type='PackSegInputs')]
dataset = dict(type='BaseSegDataset', data_root='world/ade20k', metainfo=dict(classes=classes), reduce_zero_label=True)
train_prefix = dict(img_path='images/training', seg_map_path='annotations/training')
val_prefix = dict(img_path='images/validation', seg_map_path='annotations/validation')
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'),
    dataset=dict(dataset, data_prefix=train_prefix, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, data_prefix=val_prefix, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=5),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5))
