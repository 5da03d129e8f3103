# Stanford Cars: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='cars'))
test_cfg = dict(bank=dict(dataset=dict(name='cars')))
default_hooks = dict(record=dict(dataset='cars'))
