_base_ = '../videos_runtime.py'
test_dataloader = dict(dataset=dict(type='DAVIS', data_root='data/davis', split='val', short_side=480))
test_evaluator = dict(type='DAVISMetric')
default_hooks = dict(record=dict(task='video-segmentation', dataset='davis-2017'))
