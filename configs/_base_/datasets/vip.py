# VIP: data/vip/VIP_Fine/{Images,Annotations/Category_ids,lists}
_base_ = '../videos_runtime.py'
test_dataloader = dict(dataset=dict(type='VIP', data_root='data/vip/VIP_Fine', split='val', short_side=480))
test_evaluator = dict(type='VIPMetric')
default_hooks = dict(record=dict(task='part-propagation', dataset='vip'))
