# 19,817 images of train2014 in their own size, without crowds; the list is datasets/coco_20k_filenames.txt of the code of LOST.
_base_ = './frozen_runtime.py'
test_dataloader = dict(dataset=dict(
    type='CocoBoxes', data_root='data/coco', ann_file='annotations/instances_train2014.json', data_prefix=dict(img='train2014'),
    image_list='coco_20k_filenames.txt'))
test_evaluator = dict(type='CorLocMetric')
default_hooks = dict(record=dict(dataset='coco20k'))
