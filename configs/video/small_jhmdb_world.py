# Pose propagation on the clips of the sample world.
_base_ = './jhmdb.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/jhmdb', size=(224, 224)))
default_hooks = dict(record=dict(dataset='sample-world'))
