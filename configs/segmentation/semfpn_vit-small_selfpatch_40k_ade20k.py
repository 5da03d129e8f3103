# SelfPatch's release: other taps, and all four maps keep stride 16 while the head counts upsampling steps as if they did not.
# It ran with 8 attention heads on networks pretrained with 6: for its rows as published set
# model.backbone.arch.num_heads=8 and model.backbone.init_cfg.overrule=[num_heads].
_base_ = './semfpn_vit-small_40k_ade20k.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, embed_dim=384, depth=12, num_heads=6), out_indices=(2, 5, 8, 11), pyramid=False))
