# 40,000 iterations of 16 images: DINOv3's warm-up from 1e-6 of the rate, on half a cosine over all iterations. The authors' warm-up is on a
# straight line towards 0 instead: until iteration 1,500 rates differ by up to 3.4 % of the highest, and not afterwards.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='mmdssl.OptimWrapper',
    constructor='mmdssl.OptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    paramwise_cfg=dict(decay_biases=True, decay_norms=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1501),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=0, end=40000),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
