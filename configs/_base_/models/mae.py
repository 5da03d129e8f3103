model = dict(
    type='MAE',
    backbone=dict(type='VisionTransformer', arch='base', patch_size=16, img_size=224, position='sincos', init='mae', pool='mean'),
    decoder=dict(embed_dim=512, depth=8, num_heads=16),
    normalise_pixels=True)
