# ADCLR, ViT-S/16: 800 epochs, 2x224 + 10x96, ten query crops of one patch, global batch 1024.
_base_ = [
    '../_base_/models/adclr.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    query=dict(type='CropViews', num=10, size=16, scale=(0.05, 0.15), flip=0.0),
)))
