# Views are as large as the images that k-NN sees: of 32 px, a quarter of the patches would be four.
_base_ = [
    '../_base_/models/mae.py', '../_base_/datasets/small_images.py', '../_base_/schedules/small.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64),
    decoder=dict(embed_dim=64, depth=1, num_heads=2))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(
        _delete_=True, type='CropViews', size=64, scale=(0.2, 1.0),
        mask=dict(type='RandomMask', patch_size=8, ratio=0.75, leave=True)),
)))
optim_wrapper = dict(
    optimizer=dict(lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05), clip_per_tensor=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
]
