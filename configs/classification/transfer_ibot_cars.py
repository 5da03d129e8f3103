_base_ = '../_base_/finetune_transfer_ibot.py'
model = dict(num_classes=196)
train_dataloader = dict(dataset=dict(dataset=dict(name='cars')))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=7.5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.0089, begin=0, end=6, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True),
]
default_hooks = dict(record=dict(dataset='cars'))
