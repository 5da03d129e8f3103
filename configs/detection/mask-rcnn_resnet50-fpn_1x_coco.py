# Mask R-CNN, ResNet-50 FPN, as MoCo fine-tunes it: every layer and batch norm is trained, with norms in neck and heads too.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/datasets/coco_multiscale_resnet.py',
    'mmdet::_base_/schedules/schedule_1x.py', '../_base_/mmdet_runtime.py'
]
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=dict(type='BN')),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=dict(type='BN')),
        mask_head=dict(norm_cfg=dict(type='BN'))))
auto_scale_lr = dict(enable=True, base_batch_size=16)
default_hooks = dict(record=dict(task='detection', dataset='coco', framework='mask-rcnn-1x'))
