# CIFAR-10: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='cifar10'))
test_cfg = dict(bank=dict(dataset=dict(name='cifar10')))
default_hooks = dict(record=dict(dataset='cifar10'))
