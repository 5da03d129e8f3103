# Part propagation on the clips of the sample world.
_base_ = './vip.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/vip', short_side=224, long_side_step=32))
default_hooks = dict(record=dict(dataset='sample-world'))
