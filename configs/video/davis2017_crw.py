# At its own size, as CRW has it, but for what a patch of 16 pixels leaves over: 480 x 848.
_base_ = ['../_base_/datasets/davis2017.py', '../_base_/propagation_crw.py']
model = dict(type='MaskPropagation', rules='crw')
test_dataloader = dict(dataset=dict(short_side=None, long_side_step=16))
default_hooks = dict(record=dict(framework='crw'))
