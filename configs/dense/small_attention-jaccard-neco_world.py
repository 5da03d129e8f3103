_base_ = './attention-jaccard-neco_voc12.py'
test_dataloader = dict(dataset=dict(data_root='data/sample_world/voc', size=96))
default_hooks = dict(record=dict(dataset='sample-world'))
