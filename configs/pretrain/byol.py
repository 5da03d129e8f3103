# BYOL, ResNet-50: 1000 epochs with LARS, 2x224, global batch 4096 (16 GPUs of 256 images). Source: the paper.
_base_ = [
    '../_base_/models/byol.py', '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1.5e-6))
train_cfg = dict(max_epochs=1000)
sync_bn = 'torch'
