# Recipe (B), CAE's and ADCLR's: lr 3e-4 at 32 images, layer decay 0.75.
_base_ = [
    '../_base_/models/mask-rcnn_vit-small.py', '../_base_/datasets/coco_multiscale.py', '../_base_/schedules/coco_1x.py',
    '../_base_/mmdet_runtime.py'
]
default_hooks = dict(record=dict(task='detection', dataset='coco', framework='mask-rcnn-1x'))
