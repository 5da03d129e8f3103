# DINOv3's linear segmentation: images with a short side of 512, scores at their original size, 150 classes, the rest not counted.
_base_ = [
    '../_base_/models/linear-dinov3_vit-small.py', '../_base_/datasets/ade20k.py', '../_base_/schedules/linear-dinov3_40k.py',
    '../_base_/mmseg_runtime.py'
]
train_dataloader = dict(batch_size=16)
default_hooks = dict(
    record=dict(task='linear-dinov3', dataset='ade20k', setting=dict(image=512, mask='original', classes=150)))
