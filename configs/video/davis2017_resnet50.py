# The map of the third stage, of the same stride as a ViT with patches of 16 pixels.
_base_ = './davis2017.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        depth=50,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2, )))
