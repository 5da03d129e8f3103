# DINO's optimisation, which iBOT, ADCLR and PQCL keep. `lr` is per 256 images and is scaled to the actual global batch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04),
    constructor='OptimWrapperConstructor',
    clip_per_tensor=3.0)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=10, by_epoch=True, convert_to_iter_based=True),
    # A ratio, not a value: groups without weight decay stay without it.
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(type='TrainLoop', max_epochs=800, val_interval=10)
