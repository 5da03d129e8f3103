# Keypoints of SPair-71k, by probe3d's rule and by that of all pairs: data/SPair-71k/{JPEGImages,PairAnnotation,Layout}
_base_ = '../_base_/frozen_runtime.py'
model = dict(type='Correspondence', extractor=dict(blocks=1, read='patches'), images_per_forward=4)
test_dataloader = dict(
    batch_size=1,  # a class
    num_workers=2,
    dataset=dict(type='SPair', data_root='data/SPair-71k', split='test', size=800))
test_evaluator = dict(type='CorrespondenceMetric', alpha=0.1, pairs_per_class=200)
default_hooks = dict(record=dict(task='correspondence', dataset='spair-71k'))
