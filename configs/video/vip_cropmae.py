_base_ = ['../_base_/datasets/vip.py', '../_base_/propagation_cropmae.py']
model = dict(type='MaskPropagation', rules='crw', keep_first=False, top_k=10)
test_dataloader = dict(dataset=dict(long_side=880))
default_hooks = dict(record=dict(framework='cropmae'))
