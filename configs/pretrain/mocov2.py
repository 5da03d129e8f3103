# MoCo v2, ResNet-50: 200 epochs, 2x224, global batch 256 (8 GPUs of 32 images, over which the keys' batches are shuffled). Source: the
# authors' code (facebookresearch/moco), whose step this is to rounding.
_base_ = [
    '../_base_/models/mocov2.py', '../_base_/datasets/imagenet_mocov2.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/default_runtime.py'
]
