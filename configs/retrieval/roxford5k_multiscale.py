# iBOT's: images of at most 512 px, in three scales.
_base_ = './roxford5k.py'
model = dict(scales=(1.0, 2**-0.5, 0.5))
test_dataloader = dict(dataset=dict(size=512))
default_hooks = dict(record=dict(framework='multi-scale'))
