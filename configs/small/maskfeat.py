_base_ = [
    '../_base_/models/maskfeat.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64, position='sincos'),
    cell=4)
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=64, scale=(0.5, 1.0),
        mask=dict(type='BlockMask', patch_size=8, ratio=0.4)),
)))
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05), clip_per_tensor=None, clip_grad=dict(max_norm=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
]
