# MaskFeat, ViT-B/16: 300 epochs, one view of 224, 78 of its 196 patches masked in blocks, global batch 2048 (32 GPUs of 64 images). Source:
# the paper and the authors' code (SlowFast) for the target, which has no Gaussian window.
_base_ = [
    '../_base_/models/maskfeat.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/masked_adamw.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=224, scale=(0.5, 1.0),
        mask=dict(type='BlockMask', patch_size=16, ratio=78 / 196, min_area=15)),
    local=None,
)))
# lr is per 2048 images; tokens and positions do not decay.
optim_wrapper = dict(
    optimizer=dict(lr=1.6e-3, betas=(0.9, 0.999)), clip_grad=dict(max_norm=0.02), paramwise_cfg=dict(decay_embeddings=False))
auto_scale_lr = dict(base_batch_size=2048)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=30, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=30, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
