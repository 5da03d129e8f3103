_base_ = './dino.py'
model = dict(
    type='IBOT',
    backbone=dict(mask_token=True),
    head=dict(num_prototypes=8192),
    sharing='shared',
    patch_weight=1.0)
