# Mask R-CNN on a plain ViT-S/16, box head with 4 convolutions, GIoU of decoded boxes.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdssl.VisionTransformer',
        arch='small',
        drop_path_rate=0.1,
        out_indices=(3, 5, 7, 11),
        out_norm=False,
        pyramid=True),
    neck=dict(in_channels=[384, 384, 384, 384]),
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            conv_out_channels=256,
            norm_cfg=dict(type='BN'),
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=10.0))),
    train_cfg=dict(rpn_proposal=dict(max_per_img=2000)))
