# DINOv3 has no results of its own here: its numbers on JHMDB.
_base_ = ['../_base_/datasets/jhmdb.py', '../_base_/propagation_dinov3.py']
model = dict(type='PosePropagation')
default_hooks = dict(record=dict(framework='dinov3'))
