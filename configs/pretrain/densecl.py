# DenseCL, ResNet-50: 200 epochs, 2x224, global batch 256 (8 GPUs of 32 images, over which the keys' batches are shuffled). Source: the
# authors' code (WXinlong/DenseCL), whose step this is to rounding.
_base_ = [
    '../_base_/models/densecl.py', '../_base_/datasets/imagenet_mocov2.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/default_runtime.py'
]
