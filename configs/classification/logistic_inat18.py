# iNaturalist 2018: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='inat18'))
test_cfg = dict(bank=dict(dataset=dict(name='inat18')))
default_hooks = dict(record=dict(dataset='inat18'))
