# Cascade Mask R-CNN with the small heads of small_mask-rcnn.py.
_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'
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
        bbox_head=[
            dict(
                type='Shared2FCBBoxHead',
                in_channels=num_channels,
                fc_out_channels=512,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=stds),
                reg_class_agnostic=True,
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0))
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ],
        mask_roi_extractor=dict(out_channels=num_channels),
        mask_head=dict(in_channels=num_channels, conv_out_channels=num_channels, num_convs=2, norm_cfg=norm_cfg)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300),
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner', pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou, match_low_quality=False, ignore_iof_thr=-1),
                sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=True),
                mask_size=28,
                pos_weight=-1,
                debug=False) for iou in (0.5, 0.6, 0.7)
        ]),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)))
