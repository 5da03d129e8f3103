# Leopart's linear segmentation, as NeCo's code has it: a linear classifier of the last tokens of a frozen ViT-S/16 at 448 px, masks of
# 100 x 100 in loss and scores. 25 epochs of SGD at 128 images per step on one process, a tenth of the rate after 20.
_base_ = './default_runtime.py'
model = dict(type='LinearSegmentation', backbone=dict(type='mmdssl.VisionTransformer', arch='small'), num_classes=21, mask_size=100)
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochSampler'),
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(batch_size=128, num_workers=8, persistent_workers=True)
val_cfg = dict(type='SegmentationLoop')
val_evaluator = dict(type='SegmentationMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(decay_biases=True))
auto_scale_lr = dict(enable=True, base_batch_size=128)
param_scheduler = [dict(type='StepLR', step_size=20, gamma=0.1, by_epoch=True)]
train_cfg = dict(type='TrainLoop', max_epochs=25, val_interval=5)
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=1, save_best=None),
    record=dict(type='RecordHook', task='linear-leopart'))
custom_hooks = [
    dict(type='AlgorithmHook'),
    dict(type='SkippedImagesHook', max_share=0.01),
    dict(type='ProgressHook'),
]
