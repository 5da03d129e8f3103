_base_ = './densecl.py'
model = dict(backbone=dict(
    _delete_=True, type='VisionTransformer', arch=dict(embed_dim=128, depth=4, num_heads=2), patch_size=8, img_size=64,
    position='sincos'))
