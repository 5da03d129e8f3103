# BAM, ResNet-50: 300 epochs with LARS, 2x224 + 6x96, global batch 4096 (16 GPUs of 256 images). Source: the paper; its rate of 0.3 is read
# as that of 256 images.
_base_ = [
    '../_base_/models/bam.py', '../_base_/datasets/imagenet_bam.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    projector=dict(activation='relu'))
sync_bn = 'torch'
