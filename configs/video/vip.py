_base_ = ['../_base_/datasets/vip.py', '../_base_/propagation_dino.py']
model = dict(type='MaskPropagation', keep_first=False)
default_hooks = dict(record=dict(framework='dino'))
