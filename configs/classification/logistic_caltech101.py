# Caltech-101, 30 training images of each class: mean per class.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='caltech101'))
test_cfg = dict(bank=dict(dataset=dict(name='caltech101')))
test_evaluator = dict(measure='mean_per_class')
default_hooks = dict(record=dict(dataset='caltech101'))
