# Of the sample world, which has this layout where it is asked for: voc=(96, 48).
_base_ = './discovery_voc07.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/voc', max_side=192))
default_hooks = dict(record=dict(dataset='sample-world'))
