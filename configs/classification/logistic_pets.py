# Oxford-IIIT Pets: mean per class.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='pets'))
test_cfg = dict(bank=dict(dataset=dict(name='pets')))
test_evaluator = dict(measure='mean_per_class')
default_hooks = dict(record=dict(dataset='pets'))
