# Food-101: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='food101'))
test_cfg = dict(bank=dict(dataset=dict(name='food101')))
default_hooks = dict(record=dict(dataset='food101'))
