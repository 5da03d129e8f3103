# Attention of the class token as masks of the objects of VOC 2012 (DINO, Fig. 4): data/VOCdevkit/VOC2012
_base_ = '../_base_/frozen_runtime.py'
model = dict(type='AttentionMasks', mass=0.6)
test_dataloader = dict(dataset=dict(type='VOCInstances', data_root='data/VOCdevkit/VOC2012', split='val', size=480))
test_evaluator = dict(type='AttentionJaccardMetric')
default_hooks = dict(record=dict(task='attention-jaccard', dataset='voc12'))
