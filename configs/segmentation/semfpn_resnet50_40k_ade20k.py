# Semantic FPN on ResNet-50, for MoCo, SwAV, DenseCL, ... Plain ResNet, not mmseg's default with a deep stem.
_base_ = [
    'mmseg::_base_/models/fpn_r50.py', '../_base_/datasets/ade20k.py', '../_base_/schedules/semfpn_40k.py',
    '../_base_/mmseg_runtime.py'
]
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(512, 512), test_cfg=dict(size_divisor=32)),
    pretrained=None,
    backbone=dict(type='ResNet', norm_cfg=norm_cfg),
    decode_head=dict(num_classes=150, norm_cfg=norm_cfg))
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_biases=False))
default_hooks = dict(record=dict(task='segmentation', dataset='ade20k', framework='fpn-40k'))
