# iNaturalist 2021: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='inat21'))
test_cfg = dict(bank=dict(dataset=dict(name='inat21')))
default_hooks = dict(record=dict(dataset='inat21'))
