# Revisited Oxford, as DINO evaluates: data/retrieval/roxford5k/{jpg,gnd_roxford5k.pkl}, images of at most 224 px, class tokens.
_base_ = '../_base_/frozen_runtime.py'
model = dict(type='ImageDescriptor')
test_dataloader = dict(dataset=dict(type='RevisitedDataset', data_root='data/retrieval', name='roxford5k', size=224))
test_evaluator = dict(type='RetrievalMetric')
default_hooks = dict(record=dict(task='retrieval', dataset='roxford5k'))
