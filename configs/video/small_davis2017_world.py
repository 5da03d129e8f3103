# Mask propagation on the clips of the sample world: for the quick suite of tools/benchmark.py.
_base_ = './davis2017.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/davis', short_side=224, long_side_step=32))
default_hooks = dict(record=dict(dataset='sample-world'))
