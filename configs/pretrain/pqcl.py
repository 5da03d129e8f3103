# PQCL on iBOT, ViT-S/16: 400 epochs, 2x224, one 96 px query crop of 36 tokens, 30 % of the patches masked, global batch 1024.
_base_ = [
    '../_base_/models/pqcl.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(mask=dict(type='BlockMask', patch_size=16, ratio=0.3)),
    local=None,
    query=dict(type='CropViews', num=1, size=96, scale=(0.05, 0.25), flip=0.0, photometric=dict(blur_prob=0.5)),
)))
train_cfg = dict(max_epochs=400)
