_base_ = '../_base_/discovery_coco20k.py'
model = dict(type='AttentionDiscovery', mass=0.6, head=None)
default_hooks = dict(record=dict(task='discovery-attention'))
