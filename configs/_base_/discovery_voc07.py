# Objects are found in the trainval images of VOC 2007 in their own size; all boxes count, those of difficult objects too.
_base_ = './frozen_runtime.py'
test_dataloader = dict(dataset=dict(type='VOCBoxes', data_root='data/VOCdevkit/VOC2007', split='trainval'))
test_evaluator = dict(type='CorLocMetric')
default_hooks = dict(record=dict(dataset='voc07'))
