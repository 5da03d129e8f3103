# DINOv3 has no results of its own here: its numbers on VIP.
_base_ = ['../_base_/datasets/vip.py', '../_base_/propagation_dinov3.py']
model = dict(type='MaskPropagation', rules='dinov3', keep_first=False)
test_dataloader = dict(dataset=dict(short_side=960, long_side_step=16))
default_hooks = dict(record=dict(framework='dinov3'))
