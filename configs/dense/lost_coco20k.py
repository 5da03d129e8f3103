_base_ = '../_base_/discovery_coco20k.py'
model = dict(type='LOST', num_patches=100)
default_hooks = dict(record=dict(task='discovery-lost'))
