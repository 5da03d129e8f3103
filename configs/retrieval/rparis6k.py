# Revisited Paris, as DINO evaluates: images of at most 512 px, in three scales.
_base_ = './roxford5k_multiscale.py'
test_dataloader = dict(dataset=dict(name='rparis6k'))
default_hooks = dict(record=dict(dataset='rparis6k'))
