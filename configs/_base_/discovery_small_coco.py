# COCO's train2017, shrunk for small transformers with small patches: for data sets of a few images.
_base_ = './discovery_coco20k.py'
test_dataloader = dict(dataset=dict(
    ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017'), image_list=None, max_side=192))
default_hooks = dict(record=dict(dataset='coco-small'))
