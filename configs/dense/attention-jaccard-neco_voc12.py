# The rules of NeCo's code: masks of classes in the size of the network's images, all heads merged, and the best head for each class.
_base_ = './attention-jaccard_voc12.py'
test_dataloader = dict(dataset=dict(size=224, annotation='SegmentationClass'))
test_evaluator = dict(type='NeCoAttentionJaccardMetric')
default_hooks = dict(record=dict(task='attention-jaccard-neco'))
