# A short run on one machine: a higher rate than in long runs, a teacher that follows faster.
_base_ = './adamw_cosine.py'
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=5, val_interval=1, val_before_train=True)
