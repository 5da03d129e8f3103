# DeiT: 300 epochs, the rate changes by epoch, five of warm-up from 1e-6 (at 1024 images). The authors' cosine has begun at epoch 0, ours
# begins after the warm-up: rates differ by 1.6 % of the highest at most.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(decay_embeddings=False))
auto_scale_lr = dict(enable=True, base_batch_size=512)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=6, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True),
]
train_cfg = dict(type='TrainLoop', max_epochs=300, val_interval=1)
