# UperNet for the ViT of configs/small (4 blocks of width 128, patches of 8 pixels).
_base_ = './upernet_vit-small.py'
model = dict(
    data_preprocessor=dict(size=None, size_divisor=32, test_cfg=dict(size_divisor=32)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=2),
        patch_size=8,
        img_size=64,
        position='sincos',
        drop_path_rate=0.0,
        out_indices=(0, 1, 2, 3)),
    decode_head=dict(in_channels=[128, 128, 128, 128], channels=64),
    auxiliary_head=dict(in_channels=128, channels=64),
    test_cfg=dict(_delete_=True, mode='whole'))
