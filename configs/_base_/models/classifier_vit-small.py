# What DeiT, iBOT and MAE have in common.
model = dict(
    type='Classifier',
    backbone=dict(type='VisionTransformer', arch='small', drop_path_rate=0.1),
    num_classes=1000,
    read='class',
    mixup=0.8,
    cutmix=1.0,
    mix_prob=1.0,
    switch_prob=0.5,
    label_smoothing=0.1,
    erasing=0.25)
