# SimCLR, ResNet-50: 1000 epochs with LARS, 2x224, global batch 4096 (16 GPUs of 256 images). Source: the paper; its release decays by 1e-4.
_base_ = [
    '../_base_/models/simclr.py', '../_base_/datasets/imagenet_simclr.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
train_cfg = dict(max_epochs=1000)
sync_bn = 'torch'
