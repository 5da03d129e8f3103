# Semantic FPN on a plain ViT-S/16. Whole images are padded to the stride of the coarsest map, and the logits cropped.
_base_ = 'mmseg::_base_/models/fpn_r50.py'
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(512, 512), test_cfg=dict(size_divisor=32)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch='small',
        drop_path_rate=0.1,
        out_indices=(3, 5, 7, 11),
        out_norm=False,
        pyramid=True),
    neck=dict(in_channels=[384, 384, 384, 384]),
    decode_head=dict(num_classes=150, norm_cfg=norm_cfg))
