# SupCon, ResNet-50 on ImageNet with its labels (class folders): 350 epochs with LARS, global batch 4096 (16 GPUs of 256 images), in
# SimCLR's views. The paper's batches have 6144 images, and its best views are AutoAugment's. Source: the paper, otherwise as simclr.py.
_base_ = [
    '../_base_/models/supcon.py', '../_base_/datasets/imagenet_simclr.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
train_cfg = dict(max_epochs=350)
sync_bn = 'torch'
