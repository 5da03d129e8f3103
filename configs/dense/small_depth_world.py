# Depth of the sample world, for small transformers.
_base_ = './depth_nyu.py'
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64), warmup=10)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    pin_memory=False,
    dataset=dict(data_root='data/sample_world/nyu', augmentation=dict(size=(96, 128))))
val_dataloader = dict(num_workers=2, dataset=dict(data_root='data/sample_world/nyu'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=300, val_interval=300)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=101),
    dict(type='CosineAnnealingLR', eta_min_ratio=4e-5, by_epoch=False, begin=0, end=300),
    dict(type='ConstantMomentum', factor=1e-6, by_epoch=False, begin=0, end=101),
    dict(type='CosineAnnealingMomentum', eta_min=0.95, by_epoch=False, begin=100, end=300),
]
default_hooks = dict(checkpoint=dict(interval=300), record=dict(dataset='sample-world', framework='depth-dinov3-small'))
