_base_ = './mask-rcnn_vit-small_1x_coco.py'
model = dict(backbone=dict(arch='base', drop_path_rate=0.2), neck=dict(in_channels=[768, 768, 768, 768]))
