# Recipe (A), SelfPatch's and PQCL's releases: lr 5e-5 at 8 images, no layer decay, mmdet's box head with L1.
# Both ran it with 8 attention heads on networks pretrained with 6: for their rows as published set
# model.backbone.arch.num_heads=8 and model.backbone.init_cfg.overrule=[num_heads].
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/datasets/coco_multiscale.py', '../_base_/schedules/coco_1x.py',
    '../_base_/mmdet_runtime.py'
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch=dict(embed_dim=384, depth=12, num_heads=6),
        drop_path_rate=0.05,
        out_indices=(3, 5, 7, 11),
        out_norm=False,
        pyramid=True),
    neck=dict(in_channels=[384, 384, 384, 384]))
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(
    optimizer=dict(lr=5e-5),
    paramwise_cfg=dict(layer_decay=1.0, decay_embeddings=False, decay_biases=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(record=dict(task='detection', dataset='coco', framework='mask-rcnn-1x'))
