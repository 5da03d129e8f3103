# DINO, ViT-S: the class tokens of the last four blocks.
_base_ = [
    '../_base_/models/linear_vit-small.py', '../_base_/datasets/imagenet_labelled.py', '../_base_/schedules/linear_100e.py',
    '../_base_/classification_runtime.py'
]
model = dict(extractor=dict(blocks=4, read='class'), rates=[0.001])
default_hooks = dict(record=dict(task='linear', dataset='imagenet-1k', framework='linear-dino'))
