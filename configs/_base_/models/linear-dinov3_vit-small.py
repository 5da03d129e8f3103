# The last map of a frozen ViT-S/16 with its final norm, and DINOv3's linear head on it; windows of 512 every 341 px, logits averaged.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(type='mmdssl.VisionTransformer', arch='small', out_indices=(-1, ), out_norm=True, frozen=True),
    decode_head=dict(type='mmdssl.NormalisedLinearHead', in_channels=384, num_classes=150, dropout=0.1),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
