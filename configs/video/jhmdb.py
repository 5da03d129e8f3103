_base_ = ['../_base_/datasets/jhmdb.py', '../_base_/propagation_dino.py']
model = dict(type='PosePropagation')
default_hooks = dict(record=dict(framework='dino'))
