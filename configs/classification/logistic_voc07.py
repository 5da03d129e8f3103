# VOC 2007, each class against the rest: 11-point mAP.
_base_ = '../_base_/logistic_transfer.py'
test_dataloader = dict(dataset=dict(name='voc07'))
test_cfg = dict(bank=dict(dataset=dict(name='voc07', split=['train', 'val'])))
test_evaluator = dict(measure='map11', val='val/')
default_hooks = dict(record=dict(dataset='voc07'))
