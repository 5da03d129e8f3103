# BAM's fine-tuning with 1 % of the labels, by the table of its appendix (its text says SGD), at 512 images per step.
_base_ = './finetune_deit_vit-small.py'
model = dict(ema=None)
train_dataloader = dict(batch_size=64, sampler=dict(repeats=1), dataset=dict(dataset=dict(fraction=0.01)))
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, begin=0, end=6, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True),
]
train_cfg = dict(max_epochs=100, val_interval=10)
default_hooks = dict(record=dict(task='semi-supervised', framework='finetune-bam-1percent'))
