# 12 epochs at 32 images per step, with the layer decay of BEiT.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'
optim_wrapper = dict(
    _delete_=True,
    type='mmdssl.OptimWrapper',
    constructor='mmdssl.OptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.75, decay_embeddings=False))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[9, 11], gamma=0.1),
]
train_cfg = dict(_delete_=True, type='mmdssl.TrainLoop', max_epochs=12, val_interval=1)  # goes on in the middle of an epoch
auto_scale_lr = dict(enable=True, base_batch_size=32)
