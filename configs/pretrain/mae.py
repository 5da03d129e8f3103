# MAE, ViT-B/16: 800 epochs, one view of 224, three quarters of its patches masked, global batch 4096 (64 GPUs of 64 images). Source: the
# authors' code (facebookresearch/mae), whose loss this is to rounding.
_base_ = [
    '../_base_/models/mae.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/masked_adamw.py',
    '../_base_/default_runtime.py'
]
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=224, scale=(0.2, 1.0),
        mask=dict(type='RandomMask', patch_size=16, ratio=0.75, leave=True)),
    local=None,
)))
