# Convolutional networks in large batches: BAM, MoCo v3, SimCLR, BYOL, Barlow Twins. `lr` is per 256 images and is scaled to the actual
# global batch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='LARS', lr=0.3, momentum=0.9, weight_decay=1e-6, eta=0.001),
    constructor='OptimWrapperConstructor')
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='TrainLoop', max_epochs=300, val_interval=10)
