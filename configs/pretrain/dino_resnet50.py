# DINO, ResNet-50: the authors' recipe for batches that are not huge. 100 epochs, 2x224 + 8x96, global batch 512. Source: the command of the
# authors' README.
_base_ = './dino.py'
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    head=dict(norm_last_layer=True),
    teacher_temperature=(0.04, 0.04, 0))
train_dataloader = dict(dataset=dict(views=dict(
    global_=dict(scale=(0.14, 1.0)),
    local=dict(num=8, scale=(0.05, 0.14)),
)))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=10, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=100)
sync_bn = 'torch'
