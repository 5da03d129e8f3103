# Mask R-CNN for the ViT of configs/small (4 blocks of width 128, patches of 8 pixels) and photos of some 256 pixels.
_base_ = './mask-rcnn_vit-small.py'
num_channels = 128
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2),
        patch_size=8,
        img_size=64,
        position='sincos',
        drop_path_rate=0.0,
        out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[128, 128, 128, 128], out_channels=num_channels, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=num_channels, feat_channels=num_channels, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=num_channels),
        bbox_head=dict(in_channels=num_channels, conv_out_channels=num_channels, fc_out_channels=512, norm_cfg=norm_cfg),
        mask_roi_extractor=dict(out_channels=num_channels),
        mask_head=dict(in_channels=num_channels, conv_out_channels=num_channels, num_convs=2, norm_cfg=norm_cfg)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)))
