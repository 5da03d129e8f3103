# The largest piece of what the class token attends to, all heads taken together; CorLoc.
_base_ = '../_base_/discovery_voc07.py'
model = dict(type='AttentionDiscovery', mass=0.6, head=None)
default_hooks = dict(record=dict(task='discovery-attention'))
