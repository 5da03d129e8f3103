# MoCo v3, ResNet-50: 300 epochs with LARS, 2x224, global batch 4096 (16 GPUs of 256 images). The authors' other runs: 100 epochs at lr=0.6;
# 1000 epochs at weight_decay=1.5e-6 and momentum=0.996. Source: as mocov3.py.
_base_ = [
    '../_base_/models/mocov3.py', '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/lars_cosine.py',
    '../_base_/default_runtime.py'
]
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name='resnet50'),
    projector=dict(num_layers=2),
    predictor=dict(last_norm=None),
    temperature=1.0)
train_dataloader = dict(dataset=dict(views=dict(global_=dict(scale=(0.2, 1.0), interpolation='bilinear'))))
sync_bn = 'torch'
