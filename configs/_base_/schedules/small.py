# A short run on one machine: small batches, and a higher rate per image than in long runs.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=2.4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10, val_interval=2, val_before_train=True)
