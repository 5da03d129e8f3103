_base_ = './saliency_ecssd.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/saliency'))
default_hooks = dict(record=dict(dataset='sample-world'))
