# At twice its size. The notebook resizes by bicubic interpolation, and rounds the long side up to 1712; here it is rounded down.
_base_ = ['../_base_/datasets/davis2017.py', '../_base_/propagation_dinov3.py']
model = dict(type='MaskPropagation', rules='dinov3')
test_dataloader = dict(dataset=dict(short_side=960, long_side_step=16))
default_hooks = dict(record=dict(framework='dinov3'))
