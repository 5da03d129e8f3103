# ADCLR, ViT-S/16: 800 epochs, 2x224 + 10x96, ten query crops of one patch, global batch 1024. Source: the
# paper; no code that runs was released, and what the paper does not say is as in the code of DINO.
_base_ = [
    '../_base_/models/adclr.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    query=dict(type='CropViews', num=10, size=16, scale=(0.05, 0.15), flip=0.0),
)))
model = dict(backbone=dict(position_rule='dino', remainder='cut'))
