# For the ViT of configs/small (4 blocks of width 128, patches of 8 pixels): all sizes are a quarter.
_base_ = './linear-dinov3_vit-small.py'
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64, position='sincos'),
    decode_head=dict(in_channels=128),
    test_cfg=dict(crop_size=(128, 128), stride=(85, 85)))
