# 200 iterations of 16 images, at ten times the rate.
_base_ = './linear-dinov3_40k.py'
optim_wrapper = dict(optimizer=dict(lr=1e-2))
train_cfg = dict(max_iters=200, val_interval=200)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=9),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=200),
]
