_base_ = './dino.py'
model = dict(
    type='SelfPatch',
    backbone=dict(position='sincos', class_token=False, final_norm=False),
    head=dict(
        _delete_=True,
        cls=dict(num_prototypes=1024, hidden_dim=512, bottleneck_dim=64, norm_last_layer=True),
        patch=dict(num_prototypes=256, hidden_dim=512, bottleneck_dim=64, norm_last_layer=True)),
    patch_weight=0.1)
