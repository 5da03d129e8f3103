# Barlow Twins, ResNet-50: 1000 epochs with LARS, 2x224, global batch 2048 (16 GPUs of 128 images). Biases and norms learn at .0048 per 256
# images; in the authors' code their gradients are those of ours over the number of processes, which LARS hides for all else. Source: the
# authors' code (facebookresearch/barlowtwins), optimizer and scalings; the loss is the paper's.
_base_ = [
    '../_base_/models/barlowtwins.py', '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.2), paramwise_cfg=dict(bias_lr_mult=0.024))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, begin=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1000)
sync_bn = 'torch'
