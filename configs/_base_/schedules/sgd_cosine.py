# MoCo v2's optimisation, which LooC and DiLo keep: 200 epochs, everything decays, the rate changes once an epoch. `lr` is per 256
# images and is scaled to the actual global batch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4),
    constructor='OptimWrapperConstructor',
    paramwise_cfg=dict(decay_biases=True, decay_norms=True))
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True)]
train_cfg = dict(type='TrainLoop', max_epochs=200, val_interval=10)
