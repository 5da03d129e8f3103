# BAM on the schedule of the authors' scripts: 400 epochs, a peak of 4.8e-3 at a global batch of 4096, which falls to 1e-3.
_base_ = './bam.py'
optim_wrapper = dict(optimizer=dict(lr=4.8e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1 / 4.8, begin=40, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=10, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=400)
