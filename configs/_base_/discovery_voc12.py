_base_ = './discovery_voc07.py'
test_dataloader = dict(dataset=dict(data_root='data/VOCdevkit/VOC2012'))
default_hooks = dict(record=dict(dataset='voc12'))
