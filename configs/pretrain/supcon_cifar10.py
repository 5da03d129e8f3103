# SupCon, ResNet-50 with a stem for 32 px on CIFAR-10 as class folders, data/cifar10/{train,val}/<class>/*: the authors' command, 1000
# epochs, global batch 1024. `lr` is per 1024 images. Source: the authors' code (HobbitLong/SupContrast).
_base_ = [
    '../_base_/models/supcon.py', '../_base_/datasets/imagenet_mocov2.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(stem_stride=1, stem_kernel=3),
    data_preprocessor=dict(type='mmdssl.ViewsPreprocessor', mean=(125.307, 122.961, 113.8575), std=(51.5865, 50.847, 51.255)))
train_dataloader = dict(
    batch_size=1024,
    dataset=dict(data_root='data/cifar10/train', views=dict(global_=dict(size=32, photometric=dict(blur_prob=0.0)))))
val_dataloader = dict(dataset=dict(data_root='data/cifar10/val', resize=32, size=32))
val_cfg = dict(bank=dict(dataset=dict(data_root='data/cifar10/train', resize=32, size=32, fraction=1.0)))
optim_wrapper = dict(optimizer=dict(lr=0.5))
auto_scale_lr = dict(base_batch_size=1024)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, begin=10, by_epoch=True),
]
train_cfg = dict(max_epochs=1000)
sync_bn = 'torch'
