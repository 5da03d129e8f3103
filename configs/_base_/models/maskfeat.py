model = dict(
    type='MaskFeat',
    backbone=dict(type='VisionTransformer', arch='base', patch_size=16, img_size=224, mask_token=True, pool='mean'),
    cell=8)
