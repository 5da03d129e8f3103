# MoCo v3's fine-tuning on other data sets, which BAM follows: 100 epochs at 1024 images per step, without erasing and repeated images.
_base_ = './finetune_transfer_ibot.py'
model = dict(erasing=0.0)
train_dataloader = dict(batch_size=128, sampler=dict(repeats=1))
optim_wrapper = dict(optimizer=dict(lr=3e-4, weight_decay=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 600, begin=0, end=4, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=3, by_epoch=True),
]
train_cfg = dict(max_epochs=100, val_interval=1)
default_hooks = dict(record=dict(framework='finetune-mocov3'))
