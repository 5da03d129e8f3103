# iBOT's fine-tuning with 1 % of the labels, DeiT's recipe at a low rate. The images are drawn with a seed, as many of each class; for
# SimCLR's list: --cfg-options train_dataloader.dataset.dataset.names=FILE train_dataloader.dataset.dataset.fraction=1.0. A plain linear
# layer on the class token: the first layer of the projector, which iBOT keeps, is not in a backbone file.
_base_ = './finetune_deit_vit-small.py'
train_dataloader = dict(dataset=dict(dataset=dict(fraction=0.01)))
optim_wrapper = dict(optimizer=dict(lr=5e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=6, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, by_epoch=True),
]
train_cfg = dict(max_epochs=1000, val_interval=10)
default_hooks = dict(record=dict(task='semi-supervised', framework='finetune-ibot-1percent'))
