model = dict(
    type='MoCoV3',
    backbone=dict(
        type='VisionTransformer', arch=dict(embed_dim=384, depth=12, num_heads=12), patch_size=16, img_size=224,
        position='sincos', init='mocov3', frozen_patch_embed=True),
    projector=dict(hidden_dim=4096, out_dim=256, num_layers=3, norm=True, bias=False),
    predictor=dict(hidden_dim=4096, num_layers=2, norm=True, bias=False),
    temperature=0.2,
    momentum=0.99)
