_base_ = '../_base_/discovery_small_world.py'
model = dict(type='TokenCut', threshold=0.2, weight=1e-5)
default_hooks = dict(record=dict(task='discovery-tokencut'))
