# BAM's optimisation of transformers. `lr` is per 4096 images and is scaled to the actual global batch.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_per_tensor=None, clip_grad=dict(max_norm=0.3))
auto_scale_lr = dict(base_batch_size=4096)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=40, by_epoch=True, convert_to_iter_based=True),
    # A ratio, not a value: groups without weight decay stay without it.
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
