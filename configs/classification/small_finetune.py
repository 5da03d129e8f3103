# DeiT's fine-tuning of the networks of configs/small, on images of 64 px in class folders: data/small/{train,val}/<class>/*.
_base_ = './finetune_deit_vit-small.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64, drop_path_rate=0.0),
    num_classes=20,
    read='pooled',
    mix_prob=0.5,
    ema=0.99)
train_dataloader = dict(
    batch_size=50,
    num_workers=2,
    pin_memory=False,
    sampler=dict(repeats=1),
    dataset=dict(
        dataset=dict(data_root='data/small/train'),
        views=dict(global_=dict(size=64, scale=(0.25, 1.0), photometric=dict(size=64)))))
val_dataloader = dict(batch_size=250, num_workers=2, dataset=dict(data_root='data/small/val', resize=64, size=64))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)
