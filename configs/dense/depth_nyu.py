# Depth of NYU Depth v2 by a linear classifier of frozen patches (DINOv3): data/nyu/{sync,official_splits/test}, BTS's lists beside them.
# Metrics are those of each image, then their mean. `batch_size` is for 8 processes: with one, make it 16.
_base_ = '../_base_/default_runtime.py'
model = dict(
    type='DepthProbe',
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', patch_size=16),
    extractor=dict(blocks=1, read='patches'),
    num_bins=256,
    min_depth=0.001,
    max_depth=10.0,
    dropout=0.1)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='EndlessSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='NYUDepth',
        data_root='data/nyu',
        ann_file='nyudepthv2_train_files_with_gt.txt',
        folder='sync',
        augmentation=dict(size=(416, 544), rotation=2.5, brightness=(0.75, 1.25))))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),  # which gives each process as many: they wait for each other in training
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='NYUDepth', data_root='data/nyu', ann_file='nyudepthv2_test_files_with_gt.txt', folder='official_splits/test'))
test_dataloader = val_dataloader
val_evaluator = dict(type='DepthMetric', min_depth=0.001, max_depth=10.0, crop='eigen')
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=38400, val_interval=38400)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.85, 0.99), weight_decay=1e-4),
    paramwise_cfg=dict(decay_biases=True, decay_norms=True),
    clip_grad=dict(max_norm=35.0))
# A cosine over the whole run, times a linear warm-up, in which the first moment of AdamW does not look back; then it rises.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=12801),
    dict(type='CosineAnnealingLR', eta_min_ratio=4e-5, by_epoch=False, begin=0, end=38400),
    dict(type='ConstantMomentum', factor=1e-6, by_epoch=False, begin=0, end=12801),
    dict(type='CosineAnnealingMomentum', eta_min=0.95, by_epoch=False, begin=12800, end=38400),
]
sync_bn = 'torch'
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1600, max_keep_ckpts=1, save_best=None),
    record=dict(type='RecordHook', task='depth', dataset='nyu-depth-v2', framework='depth-dinov3'))
custom_hooks = [dict(type='AlgorithmHook'), dict(type='ProgressHook')]
