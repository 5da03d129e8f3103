# Mask R-CNN with a small ViT (6 blocks of width 192) and thin heads that learn in hundreds of iterations, for photos of some 256 pixels.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
num_channels = 64
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch=dict(embed_dim=192, depth=6, num_heads=3),
        position='sincos',
        out_indices=(1, 2, 4, 5),
        out_norm=False,
        pyramid=True),
    neck=dict(in_channels=[192, 192, 192, 192], out_channels=num_channels, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=num_channels, feat_channels=num_channels, anchor_generator=dict(scales=[3])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=num_channels),
        bbox_head=dict(in_channels=num_channels, fc_out_channels=512),
        mask_roi_extractor=dict(out_channels=num_channels),
        mask_head=dict(in_channels=num_channels, conv_out_channels=num_channels, num_convs=2, norm_cfg=norm_cfg)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=64, pos_fraction=0.5))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)))
