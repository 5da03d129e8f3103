# TokenCut: one side of a normalised cut of the patches, by the keys of the last block; CorLoc.
_base_ = '../_base_/discovery_voc07.py'
model = dict(type='TokenCut', threshold=0.2, weight=1e-5)
default_hooks = dict(record=dict(task='discovery-tokencut'))
