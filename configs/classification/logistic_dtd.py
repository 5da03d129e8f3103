# DTD, first partition: top-1.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='dtd'))
test_cfg = dict(bank=dict(dataset=dict(name='dtd', split=['train', 'val'])))
test_evaluator = dict(val='val/')
default_hooks = dict(record=dict(dataset='dtd'))
