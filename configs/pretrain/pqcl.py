# PQCL on iBOT, ViT-S/16: 400 epochs, 2x224, one 96 px query crop of 36 tokens, 30 % of the patches masked, global batch 1024. Source: the
# paper; the release, pqcl_release.py, differs. What the paper does not say is the release's (weight 1 of the query loss, crops of
# (0.25, 1), 10 epochs of warm-up where it prints 30, student temperature 0.1 where it prints 0.04).
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
