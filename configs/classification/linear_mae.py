# MAE, ViT-B: normalised class token, LARS, 16384 images per step (512 on each of 32 processes).
_base_ = './linear_dino.py'
model = dict(backbone=dict(arch='base'), extractor=dict(blocks=1), norm=True, rates=[0.1])
train_dataloader = dict(batch_size=512, dataset=dict(views=dict(global_=dict(interpolation='bicubic'))))
optim_wrapper = dict(optimizer=dict(type='LARS'))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=90)
default_hooks = dict(record=dict(framework='linear-mae'))
