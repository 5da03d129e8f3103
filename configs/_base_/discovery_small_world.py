_base_ = './discovery_small_coco.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/coco'))
default_hooks = dict(record=dict(dataset='sample-world'))
