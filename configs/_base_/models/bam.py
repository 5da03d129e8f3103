model = dict(
    type='BAM',
    backbone=dict(
        type='VisionTransformer', arch=dict(embed_dim=384, depth=12, num_heads=12), patch_size=16, img_size=224,
        position='sincos', init='moco', frozen_patch_embed=True),
    projector=dict(hidden_dim=4096, out_dim=4096, num_layers=3, activation='gelu'),
    teacher=True,
    momentum=0.995,
    target_temperature=(0.05, 0.05, 0),
    attention=dict(source_temperature=0.1, balanced_set='all', iterations=3, top_k=0))
