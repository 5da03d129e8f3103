# iNaturalist 2019: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='inat19'))
test_cfg = dict(bank=dict(dataset=dict(name='inat19')))
default_hooks = dict(record=dict(dataset='inat19'))
