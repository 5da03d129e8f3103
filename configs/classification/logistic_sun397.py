# SUN397, first partition: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='sun397'))
test_cfg = dict(bank=dict(dataset=dict(name='sun397')))
default_hooks = dict(record=dict(dataset='sun397'))
