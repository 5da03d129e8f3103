# Mask R-CNN, ResNet-50 C4, as MoCo fine-tunes it: every layer and batch norm is trained. (MoCo has one more norm behind the last stage.)
# The last stage is part of the head: give its roi_head.shared_head the same init_cfg as the backbone, as --pretrained does.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50-caffe-c4.py', '../_base_/datasets/coco_multiscale_resnet.py',
    'mmdet::_base_/schedules/schedule_1x.py', '../_base_/mmdet_runtime.py'
]
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(style='pytorch', frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    roi_head=dict(shared_head=dict(style='pytorch', norm_cfg=norm_cfg, norm_eval=False)))
auto_scale_lr = dict(enable=True, base_batch_size=16)
default_hooks = dict(record=dict(task='detection', dataset='coco', framework='mask-rcnn-c4-1x'))
