# UperNet on a plain ViT-S/16, iBOT's: normalised maps, heads of 384 channels, sliding windows.
_base_ = 'mmseg::_base_/models/upernet_r50.py'
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch='small',
        drop_path_rate=0.1,
        out_indices=(3, 5, 7, 11),
        out_norm=True,
        pyramid=True),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384, num_classes=150, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=384, num_classes=150, norm_cfg=norm_cfg),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
