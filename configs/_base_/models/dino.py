model = dict(
    type='DINO',
    backbone=dict(type='VisionTransformer', arch='small', patch_size=16, img_size=224, drop_path_rate=0.1),
    head=dict(type='DINOHead', num_prototypes=65536, norm_last_layer=False),
    momentum=0.996,
    teacher_temperature=(0.04, 0.07, 30),
    student_temperature=0.1,
    center_momentum=0.9,
    freeze_last_layer=1)
