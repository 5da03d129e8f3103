# MAE: the mean of the patches without the final norm, and a norm of its own. Fixed positions stay fixed here.
_base_ = './finetune_ibot_vit-small.py'
model = dict(backbone=dict(arch='base', position='sincos', out_norm=False), read='mean', norm=True)
val_dataloader = dict(dataset=dict(interpolation='bicubic'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay=0.65))
auto_scale_lr = dict(base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=5e-4, begin=5, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=100)
default_hooks = dict(record=dict(framework='finetune-mae'))
