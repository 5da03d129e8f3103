# CRW publishes the numbers for DAVIS; a short side of 560 is what UVC and VFS have.
_base_ = ['../_base_/datasets/vip.py', '../_base_/propagation_crw.py']
model = dict(type='MaskPropagation', rules='crw', keep_first=False)
test_dataloader = dict(dataset=dict(short_side=560, long_side_step=16))
default_hooks = dict(record=dict(framework='crw'))
