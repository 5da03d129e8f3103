# LOST: what is linked to the patch with the fewest links, by the keys of the last block; CorLoc.
_base_ = '../_base_/discovery_voc07.py'
model = dict(type='LOST', num_patches=100)
default_hooks = dict(record=dict(task='discovery-lost'))
