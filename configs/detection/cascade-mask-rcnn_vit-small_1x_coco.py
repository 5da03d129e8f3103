# Recipe (C), iBOT's: lr 1e-4 at 32 images, layer decay 0.8. PQCL's row: lr 5e-5 at 16 images and layer decay 0.75.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_vit-small.py', '../_base_/datasets/coco_multiscale.py',
    '../_base_/schedules/coco_1x.py', '../_base_/mmdet_runtime.py'
]
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(layer_decay=0.8))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
default_hooks = dict(record=dict(task='detection', dataset='coco', framework='cascade-rcnn-1x'))
