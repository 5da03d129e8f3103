# MoCo v3, ViT-S/16 with 12 heads: 300 epochs, 2x224, global batch 4096 (16 GPUs of 256 images). Everything decays. Source: the authors'
# code (facebookresearch/moco-v3), whose step this is to rounding.
_base_ = [
    '../_base_/models/mocov3.py', '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(global_=dict(interpolation='bilinear'))))
optim_wrapper = dict(
    optimizer=dict(lr=1.5e-4, weight_decay=0.1), paramwise_cfg=dict(decay_biases=True, decay_norms=True), clip_per_tensor=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=40, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
sync_bn = 'torch'
