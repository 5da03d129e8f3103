_base_ = './dino.py'
model = dict(
    type='SelfPatch',
    backbone=dict(class_token=False, final_norm=False),
    head=dict(
        _delete_=True,
        cls=dict(num_prototypes=65536, norm_last_layer=True),
        patch=dict(num_prototypes=4096, norm_last_layer=True)),
    teacher_temperature=(0.04, 0.04, 0),
    num_neighbours=4,
    num_blocks=2,
    patch_weight=0.1)
