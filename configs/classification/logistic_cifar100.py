# CIFAR-100: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='cifar100'))
test_cfg = dict(bank=dict(dataset=dict(name='cifar100')))
default_hooks = dict(record=dict(dataset='cifar100'))
