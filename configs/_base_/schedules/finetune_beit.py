# BEiT and iBOT: an absolute rate for 1024 images, layer decay, warm-up from 0 by iteration; the rate of each layer ends at its share
# of 1e-6.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.75, decay_embeddings=False))
auto_scale_lr = dict(enable=True, base_batch_size=1024)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=20, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=2.5e-4, begin=20, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='TrainLoop', max_epochs=200, val_interval=1)
