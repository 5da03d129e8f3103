# SGD for 100 epochs along a cosine by epoch, without warm-up. Rates are those of `model.rates`, for 256 images.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OptimWrapperConstructor',
    optimizer=dict(type='SGD', momentum=0.9))
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(type='TrainLoop', max_epochs=100, val_interval=1)
