# Recipe (C) for ViT-B/16: lr 1e-4 at 16 images, layer decay 0.75.
_base_ = './cascade-mask-rcnn_vit-small_1x_coco.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2), neck=dict(in_channels=[768, 768, 768, 768]))
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.75))
auto_scale_lr = dict(base_batch_size=16)
