# FGVC Aircraft: mean per class.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='aircraft'))
test_cfg = dict(bank=dict(dataset=dict(name='aircraft', split=['train', 'val'])))
test_evaluator = dict(measure='mean_per_class', val='val/')
default_hooks = dict(record=dict(dataset='aircraft'))
